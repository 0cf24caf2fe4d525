"""The rules of `proxies.rendering.render` in SQL, so that a plan can evaluate a million rows.

Each reason is a condition on the row's columns; a property test keeps the two consistent.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import (
    Case,
    CharField,
    Exists,
    JSONField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Concat, Substr

from media_files.errors import NotAnImage, Quarantined
from media_files.models import MediaFile
from proxies.models import Proxy, ProxyFailure, Quarantine, Thumbnail
from proxies.outcomes import NOT_NEEDED, Outcome
from proxies.rendering import thumbnail
from proxies.rendering.profiles import ProxyProfile
from proxies.rendering.render import Reason

FACTS_UNKNOWN = Q(width=None)
# The name of the operation that makes image proxies, in batches and quarantine.
IMAGE_PROXY = "image-proxy"


def reason_conditions(profile: ProxyProfile) -> dict[Reason, Q]:
    """Return for each reason the condition under which a file's row has it; the facts must be known."""
    side = profile.shorter_side
    shorter_side = Q(width__gt=side, height__gt=side) if side is not None else Q(pk__in=[])
    return {
        Reason.SHORTER_SIDE: shorter_side,
        Reason.LONGER_SIDE: Q(width__gt=profile.longest_side) | Q(height__gt=profile.longest_side),
        Reason.FORMAT: ~Q(format__in=sorted(profile.formats)),
        Reason.BYTES: Q(bytes__gt=profile.byte_limit),
        Reason.ORIENTATION: ~Q(orientation=1),
        Reason.COLOUR: Q(standard_colour=False),
        Reason.LOCATION: Q(has_location=True),
        Reason.METADATA: Q(has_metadata=True)
        | Q(has_metadata__isnull=True, format__in=sorted(profile.formats)),
    }


def outcome_is_a_guess(profile: ProxyProfile) -> Q:
    """Match files that have not been read yet, and those that may need no proxy once they are read again."""
    conditions = reason_conditions(profile)
    del conditions[Reason.METADATA]
    is_not_walked = Q(has_metadata__isnull=True, format__in=sorted(profile.formats))
    return FACTS_UNKNOWN | (is_not_walked & ~reduce(or_, conditions.values()))


def needs_proxy(profile: ProxyProfile) -> Q:
    """Match images that have a reason for a proxy, or whose facts have not been read yet."""
    conditions = [FACTS_UNKNOWN, *reason_conditions(profile).values()]
    return Q(file_type=MediaFile.FileType.IMAGE) & reduce(or_, conditions)


def has_proxy(profile: ProxyProfile) -> Exists:
    return Exists(Proxy.objects.filter(source=OuterRef("pk"), profile=profile.name))


def has_current_proxy(profile: ProxyProfile) -> Exists:
    return Exists(
        Proxy.objects.filter(
            source=OuterRef("pk"),
            profile=profile.name,
            recipe=profile.recipe,
            source_fingerprint=OuterRef("fingerprint"),
        )
    )


def is_decoded() -> Exists:
    """Return whether the file's current bytes have been decoded, which its thumbnail shows."""
    return Exists(
        Thumbnail.objects.filter(
            source=OuterRef("pk"), source_fingerprint=OuterRef("fingerprint"), version=thumbnail.VERSION
        )
    )


def has_thumbnail(file: str = "pk") -> Exists:
    """Return whether a row's file has a thumbnail, of whatever bytes; ``file`` is the column with its id."""
    return Exists(Thumbnail.objects.filter(source=OuterRef(file)))


def quarantines(operation: str) -> QuerySet[Quarantine]:
    """Return for each file of the outer query its quarantine for this operation and its current bytes."""
    return Quarantine.objects.filter(
        source=OuterRef("pk"), operation=operation, fingerprint=OuterRef("fingerprint")
    )


def is_quarantined(operation: str) -> Exists:
    return Exists(quarantines(operation))


def known_failures(profile: ProxyProfile) -> QuerySet[ProxyFailure]:
    """Return for each file of the outer query the last failure of its current bytes with this recipe."""
    return ProxyFailure.objects.filter(
        source=OuterRef("pk"),
        profile=profile.name,
        recipe=profile.recipe,
        fingerprint=OuterRef("fingerprint"),
    )


def outcome_of(profile: ProxyProfile, *, force: bool = False, retry_failed: bool = False) -> Case:
    """Return the outcome that a run would have for each file, as far as its row shows.

    With ``retry_failed``, as for a batch whose failed and quarantined files are retried.
    """
    whens = [When(~Q(file_type=MediaFile.FileType.IMAGE), then=_word(Outcome.FAILED))]
    if not retry_failed:
        whens.append(When(is_quarantined(IMAGE_PROXY), then=_word(Outcome.QUARANTINED)))
    is_known_failure = Q(Exists(known_failures(profile)))
    whens.append(When(~needs_proxy(profile) & ~is_known_failure, then=_word(Outcome.SKIPPED)))
    if not force:
        whens.append(When(has_current_proxy(profile), then=_word(Outcome.REUSED)))
    if not force and not retry_failed:
        whens.append(When(is_known_failure, then=_word(Outcome.FAILED)))
    whens.append(When(has_proxy(profile), then=_word(Outcome.REPLACED)))
    return Case(*whens, default=_word(Outcome.CREATED), output_field=CharField())


def with_outcome(
    files: QuerySet[MediaFile], profile: ProxyProfile, *, force: bool = False, retry_failed: bool = False
) -> QuerySet[Any]:
    """Annotate ``outcome``, why a proxy is needed, and the ledger's columns for settled files."""
    reasons = [
        When(outcome=Outcome.SKIPPED.value, then=Value([NOT_NEEDED], JSONField())),
        When(Q(file_type=MediaFile.FileType.IMAGE) & ~FACTS_UNKNOWN, then=_reasons(profile)),
    ]
    return with_settled(
        files.annotate(outcome=outcome_of(profile, force=force, retry_failed=retry_failed)),
        video="A video. Image proxies are made of images only.",
        reasons=reasons,
        failures=known_failures(profile),
    )


def with_settled(
    files: QuerySet[Any],
    *,
    video: str,
    operation: str = IMAGE_PROXY,
    reasons: Sequence[When] = (),
    failures: QuerySet[ProxyFailure] | None = None,
) -> QuerySet[Any]:
    """Annotate the ledger's columns for files that are settled by their ``outcome``.

    Args:
        files: annotated with their outcomes.
        video: the message for a file that is not an image.
        operation: whose quarantined files are skipped.
        reasons: why files need work, as far as that is known.
        failures: the earlier failures of files, if known.
    """
    is_video = ~Q(file_type=MediaFile.FileType.IMAGE)
    # The operation's own quarantine before that of the proxies that it sends.
    own_first = Case(When(operation=operation, then=Value(0)), default=Value(1))
    held = (
        Quarantine.objects.filter(
            source=OuterRef("pk"),
            operation__in=[operation, IMAGE_PROXY],
            fingerprint=OuterRef("fingerprint"),
        )
        .order_by(own_first)
        .values("message")[:1]
    )
    errors = [
        When(is_video, then=Value(NotAnImage.code)),
        When(outcome=Outcome.QUARANTINED.value, then=Value(Quarantined.code)),
    ]
    messages = [
        When(is_video, then=Value(video)),
        When(outcome=Outcome.QUARANTINED.value, then=Subquery(held)),
    ]
    if failures is not None:
        errors.append(When(outcome=Outcome.FAILED.value, then=Subquery(failures.values("error"))))
        messages.append(When(outcome=Outcome.FAILED.value, then=Subquery(failures.values("message"))))
    settled: QuerySet[Any] = files.annotate(
        settled_reasons=Case(*reasons, default=Value([], JSONField()), output_field=JSONField()),
        settled_error=Case(*errors, default=Value(""), output_field=CharField()),
        settled_message=Case(*messages, default=Value(""), output_field=TextField()),
    )
    return settled


def _reasons(profile: ProxyProfile) -> Combinable:
    """Return the reasons of a file whose facts are known, as a JSON list."""
    found = [
        Case(When(condition, then=Value(f',"{reason}"')), default=Value(""), output_field=TextField())
        for reason, condition in reason_conditions(profile).items()
    ]
    listed = Substr(Concat(*found, output_field=TextField()), 2)
    return Cast(Concat(Value("["), listed, Value("]"), output_field=TextField()), JSONField())


def proxy_state_of(profile: ProxyProfile) -> Case:
    """Return a file's proxy state: ``current``, ``not_needed``, ``failed``, ``stale`` or ``missing``."""
    return Case(
        When(has_current_proxy(profile), then=Value("current")),
        When(Exists(known_failures(profile)), then=Value("failed")),
        When(~needs_proxy(profile), then=Value("not_needed")),
        When(has_proxy(profile), then=Value("stale")),
        default=Value("missing"),
        output_field=CharField(),
    )


def _word(outcome: Outcome) -> Combinable:
    return Value(outcome.value)
