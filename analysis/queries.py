"""SQL for analyses: the outcome of each file, fast enough to preview a million rows, and the search."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

from django.db import connection
from django.db.models import (
    Case,
    CharField,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable

from analysis import providers
from analysis.errors import ImageTooSmall
from analysis.models import Analysis, AnalysisLabel
from analysis.providers.base import Request
from media_files.models import MediaFile
from proxies.models import Proxy
from proxies.outcomes import Outcome
from proxies.queries import IMAGE_PROXY, is_quarantined, known_failures, needs_proxy, with_settled
from proxies.rendering.profiles import ProxyProfile

_WORD = re.compile(r"\w+")


def sent_sha256(profile: ProxyProfile) -> Case:
    """Return the SHA-256 of the file that would be sent now; null if a proxy must be created first."""
    current = Proxy.objects.current(profile).filter(source=OuterRef("pk"))
    return Case(
        When(needs_proxy(profile), then=Subquery(current.values("sha256")[:1])),
        default=F("sha256"),
        output_field=CharField(),
    )


def sent_bytes(profile: ProxyProfile) -> Case:
    """Return the size in bytes of the same file."""
    current = Proxy.objects.current(profile).filter(source=OuterRef("pk"))
    return Case(When(needs_proxy(profile), then=Subquery(current.values("bytes")[:1])), default=F("bytes"))


def is_answered(provider: str, request: Request, *, of_this_file: bool) -> Exists:
    """Return whether the question about the bytes in ``sent_sha256`` is answered, for this file or any file.

    Any file includes those deleted within the trash period.
    """
    answers = Analysis.everything.answering(
        sha256=OuterRef("sent_sha256"),  # type: ignore[arg-type]
        provider=provider,
        model=request.model,
        request_version=request.request_version,
    )
    return Exists(answers.filter(file=OuterRef("pk")) if of_this_file else answers)


def with_outcome(
    files: QuerySet[MediaFile],
    provider: str,
    requests: Sequence[Request],
    profile: ProxyProfile,
    *,
    force: bool = False,
) -> QuerySet[Any]:
    """Annotate each file with the outcome a run would have, and the error of files that would fail."""
    operation = f"analyze-{provider}"
    known = Exists(Analysis.objects.done().filter(file=OuterRef("pk"), provider=provider))
    failures = known_failures(profile)
    # Nothing can be sent. ``force`` repeats questions, but does not retry failed proxies.
    is_broken = Q(Exists(failures)) & (Q(sent_sha256=None) | ~needs_proxy(profile))
    whens = [
        When(~Q(file_type=MediaFile.FileType.IMAGE), then=_word(Outcome.FAILED)),
        When(_is_left_alone(operation), then=_word(Outcome.QUARANTINED)),
        When(is_broken | _is_too_small(provider), then=_word(Outcome.FAILED)),
    ]
    if requests and not force:
        answered = (Q(is_answered(provider, request, of_this_file=True)) for request in requests)
        whens.append(When(reduce(and_, answered), then=_word(Outcome.REUSED)))
    whens.append(When(known, then=_word(Outcome.REPLACED)))
    outcome = Case(*whens, default=_word(Outcome.CREATED), output_field=CharField())
    judged = files.annotate(sent_sha256=sent_sha256(profile)).annotate(outcome=outcome)
    settled = with_settled(
        judged, video="A video. Only images are analysed.", operation=operation, failures=failures
    )
    return _with_too_small(settled, provider)


def _is_left_alone(operation: str) -> Q:
    """Match files quarantined for this operation, or for creating the proxy that would be sent."""
    return Q(is_quarantined(operation)) | Q(is_quarantined(IMAGE_PROXY), sent_sha256=None)


def _is_too_small(provider: str) -> Q:
    """Match originals with a side shorter than the service's minimum; proxies are never enlarged."""
    side = providers.get(provider).shortest_side
    return Q(file_type=MediaFile.FileType.IMAGE) & (Q(width__lt=side) | Q(height__lt=side))


def _with_too_small(settled: QuerySet[Any], provider: str) -> QuerySet[Any]:
    """Add the error of files that are too small to the errors of other files."""
    service = providers.get(provider)
    message = f"{service.label} needs {service.shortest_side} px a side. Use a larger picture."
    applies = Q(outcome=Outcome.FAILED.value) & _is_too_small(provider)
    reported: QuerySet[Any] = settled.annotate(
        settled_error=Case(
            When(applies, then=Value(ImageTooSmall.code)),
            default=F("settled_error"),
            output_field=CharField(),
        ),
        settled_message=Case(
            When(applies, then=Value(message)), default=F("settled_message"), output_field=TextField()
        ),
    )
    return reported


# -- Search ----------------------------------------------------------------------------------------


def with_label(name: str) -> Q:
    """Match files whose newest answers contain this label or object, ignoring case."""
    found = AnalysisLabel.objects.filter(
        name=name.strip().casefold(),
        analysis__is_newest=True,
        analysis__source_fingerprint=F("analysis__file__fingerprint"),
    )
    return Q(pk__in=found.values("analysis__file"))


def matching_text(words: str) -> Q:
    """Match files with a newest answer that has all these words in its caption, labels or text.

    On PostgreSQL this is an indexed full-text search for whole words; other databases match substrings.
    """
    found = Analysis.objects.of_today()
    if connection.vendor == "postgresql":
        from django.contrib.postgres.search import SearchQuery, SearchVector  # noqa: PLC0415

        # Must equal the expression of the index `analysis_words`.
        vector = SearchVector("search_text", config="simple")
        found = found.annotate(words=vector).filter(words=SearchQuery(words, config="simple"))
    else:
        for word in _WORD.findall(words) or [words]:
            found = found.filter(search_text__icontains=word)
    return Q(pk__in=found.values("file"))


def _word(outcome: Outcome) -> Combinable:
    return Value(outcome.value)
