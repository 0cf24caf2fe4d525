"""The invariants that hold after every run, whatever went wrong in it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from analysis.models import Analysis, Spending
from analysis.prices import dollars, price_of_tokens
from media_files.models import DiscardedFile, MediaFile
from proxies.batches.claim import MAX_ATTEMPTS
from proxies.conf import conf
from proxies.models import Batch, BatchItem, DiscardedProxy, Proxy, ProxyFailure, ProxyLease, Quarantine
from proxies.tests.simulation.actors import SHA256, Cast
from proxies.tests.simulation.provider import MODEL, TOKENS_IN, Paid
from proxies.tests.simulation.storage import MemoryStorage

MOST_TOKENS = 2000
NOTES = (ProxyLease, DiscardedFile, DiscardedProxy)


def violations(cast: Cast, paid: list[Paid], decodes: Counter[int]) -> Iterator[str]:
    """Yield all violations, once the workers and the sweeper have had time to recover."""
    yield from (f"surprise: {surprise}" for surprise in cast.surprises)
    yield from _originals(cast)
    yield from _proxies(cast)
    yield from _left_over(cast)
    yield from _items(cast, decodes)
    yield from _counts(cast)
    yield from _money(cast, paid)


def is_at_rest() -> bool:
    """Return whether the ledger shows no remaining work."""
    unfinished = BatchItem.objects.unfinished().exclude(batch__state=Batch.State.CANCELLED)
    running = Batch.objects.filter(standing=None, state=Batch.State.RUNNING)
    notes = [model._default_manager.all() for model in NOTES]
    waiting: list[Any] = [unfinished, running, Analysis.objects.started(), *notes]
    return not any(rows.exists() for rows in waiting)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _originals(cast: Cast) -> Iterator[str]:
    """Check that every row has its bytes, and every file its row or note."""
    files = MemoryStorage.files["originals"]
    named = set(DiscardedFile.objects.filter(storage_alias="originals").values_list("name", flat=True))
    for row in MediaFile.objects.filter(managed=True):
        name = str(row.file.name)
        named.add(name)
        if name not in files:
            if name not in cast.lost:
                yield f"original {row.pk} has no file {name}"
        elif _sha256(files[name]) != row.sha256:
            yield f"original {row.pk} has other bytes than its row says"
        if row.content_key and row.content_key != row.sha256:
            yield f"original {row.pk} keeps the content key of other bytes"
    yield from (f"unknown original {name}" for name in sorted(set(files) - named))
    places = Counter(MediaFile.objects.filter(managed=False).values_list("storage_alias", "file"))
    yield from (f"{place} is registered {times} times" for place, times in places.items() if times > 1)


def _proxies(cast: Cast) -> Iterator[str]:
    """Check that every proxy row has its bytes, every file a row or note, every image its needed proxy."""
    files = MemoryStorage.files["proxies"]
    named = set(DiscardedProxy.objects.values_list("name", flat=True))
    for proxy in Proxy.objects.select_related("source"):
        name = str(proxy.image.name)
        named.add(name)
        if name in cast.damaged and files.get(name) == cast.damaged[name]:
            continue
        if name not in files:
            yield f"proxy {proxy.pk} of file {proxy.source_id} has no file {name}"
        elif _sha256(files[name]) != proxy.sha256 and (proxy.recipe or proxy.profile != "nova"):
            yield f"proxy {proxy.pk} of file {proxy.source_id} is current over other bytes"
    yield from (f"unknown proxy {name}" for name in sorted(set(files) - named))
    yield from _wanting(cast)


def _wanting(cast: Cast) -> Iterator[str]:
    """Check that an image that needs a proxy has an up-to-date one, or a known reason why not."""
    from proxies.render_job import reasons_of

    profile = conf().nova
    proxies = {proxy.source_id: proxy for proxy in Proxy.objects.filter(profile=profile.name)}
    excused = set(ProxyFailure.objects.values_list("source", flat=True))
    excused |= set(Quarantine.objects.values_list("source", flat=True))
    excused |= set(BatchItem.objects.filter(outcome="failed").values_list("file", flat=True))
    for row in MediaFile.objects.images():
        if row.facts is None or not reasons_of(row, profile) or str(row.file.name) in cast.lost:
            continue
        proxy = proxies.get(row.pk)
        is_current = proxy is not None and proxy.is_current(row, profile)
        was_damaged = any(f"_{row.pk}_nova." in name for name in cast.damaged)  # recreated on demand
        if not is_current and not was_damaged and row.pk not in excused:
            yield f"file {row.pk} has no current proxy, and nobody will make it"


def _left_over(cast: Cast) -> Iterator[str]:
    """Check that nothing is left half-done."""
    curse = cast.world.curse
    for model in NOTES:
        rows: Any = model._default_manager.all()
        if curse is not None and model is DiscardedProxy:
            rows = rows.exclude(source_id=curse.file_id)  # every attempt to acquire its lease fails
        if left := list(rows[:3]):
            yield f"{model.__name__} left: {', '.join(map(str, left))}"
    for place, written in MemoryStorage.written.items():
        if written:
            yield f"{len(written)} temporaries left in {place}"
    for row in Analysis.objects.started():
        yield f"analysis {row.pk} is started for ever"


def _items(cast: Cast, decodes: Counter[int]) -> Iterator[str]:
    """Check that every item ends, nothing waits forever, and no file is blamed without cause."""
    for batch in Batch.objects.filter(standing=None, state=Batch.State.RUNNING):
        yield f"batch {batch.pk} is running for ever"
    for item in BatchItem.objects.exclude(state=BatchItem.State.DONE).select_related("batch"):
        if item.batch.state != Batch.State.CANCELLED:
            why = f"{item.batch.state} {item.batch.paused_code} {item.batch.paused_reason}".strip()
            yield f"item {item.pk} of {item.batch} ({why}) is {item.state}: {item.message}"
        elif item.state == BatchItem.State.RUNNING:
            yield f"item {item.pk} of a cancelled batch is running for ever"
    incidents, curse = cast.faults.incidents, cast.world.curse
    cursed = curse.file_id if curse else 0
    for held in Quarantine.objects.select_related("source"):
        if incidents < MAX_ATTEMPTS and held.source_id != cursed:
            yield f"file {held.source_id} is in quarantine after {incidents} incidents: {held.message}"
    for item in BatchItem.objects.filter(attempts__gt=0, batch__operation="image-proxy"):
        if item.attempts > decodes[item.file_id] + incidents and item.file_id != cursed:
            yield f"item {item.pk} counts {item.attempts} attempts, {decodes[item.file_id]} decodes"
    for item in BatchItem.objects.filter(attempts__lt=0):
        yield f"item {item.pk} counts {item.attempts} attempts"
    yield from _failures()


def _counts(cast: Cast) -> Iterator[str]:
    """Check that an ended batch shows its files' outcomes, and that they match its plan."""
    from proxies.batches.counts import counts_of

    for batch in Batch.objects.filter(standing=None, finished_at__isnull=False):
        if batch.is_open:
            continue
        states = Counter(batch.items.values_list("state", flat=True))
        outcomes = Counter(batch.items.exclude(outcome="").values_list("outcome", flat=True))
        shown = {key: number for key, number in counts_of(batch).items() if number and key != "total"}
        if shown != dict(states + outcomes):
            yield f"batch {batch.pk} shows {shown} and is {dict(states + outcomes)}"
        promised = dict(cast.promises).get(batch.pk)
        if promised is not None and promised != dict(outcomes):
            yield f"batch {batch.pk} promised {promised} and did {dict(outcomes)}"


def _failures() -> Iterator[str]:
    """Check that a file fails only because of its own bytes."""
    for failure in ProxyFailure.objects.select_related("source"):
        source = failure.source
        if (
            failure.fingerprint == source.fingerprint
            and SHA256.get(source.sha256, "damaged.jpg") != "damaged.jpg"
        ):
            yield f"the sound file {source.pk} is remembered as {failure.error}: {failure.message}"


def _money(cast: Cast, paid: list[Paid]) -> Iterator[str]:
    """Check that every paid answer is kept or accounted for, none is paid twice, and budgets hold."""
    asked = Counter(call.sha256 for call in paid)
    for sha256, calls in asked.items():
        rows = Analysis.everything.filter(sha256=sha256, reused_from=None)
        kept = rows.count()
        if kept < calls and _is_present(sha256):
            yield f"{calls} calls were paid for picture {sha256[:8]}, {kept} are recorded"
        free = sum(not call.forced for call in paid if call.sha256 == sha256)
        answered = rows.filter(status=Analysis.Status.DONE).count()
        if answered - (calls - free) > 1:
            yield f"picture {sha256[:8]} was paid {answered} times without being asked to"
    most = price_of_tokens(MODEL, TOKENS_IN, MOST_TOKENS).amount or Decimal(0)
    spent = Counter[int]()
    for call in paid:
        if call.batch is not None:
            spent[call.batch] += call.cost  # type: ignore[assignment]
    for batch in Batch.objects.filter(pk__in=list(spent)):
        cost: Any = spent[batch.pk]
        budget = cast.budgets.get(batch.pk)
        if budget is not None and cost > Decimal(budget) + most:
            yield f"batch {batch.pk} has a budget of {budget} and cost {cost}"
        row = Spending.objects.filter(batch=batch).first()
        counted = dollars(row.nano_dollars) if row else Decimal(0)
        # A call whose process was killed is counted at its estimated cost.
        if counted < cost and not cast.faults.losses:
            yield f"batch {batch.pk} cost {cost} and says {counted}"
    if not cast.faults.losses and cast.world.curse is None and (lost := _lost_answers(paid)):
        yield f"{lost} paid answers were lost though nothing was killed"


def _lost_answers(paid: list[Paid]) -> int:
    lost = 0
    for sha256, calls in Counter(call.sha256 for call in paid if _is_present(call.sha256)).items():
        rows = Analysis.everything.filter(sha256=sha256, reused_from=None).exclude(raw={})
        lost += max(0, calls - rows.count())
    return lost


def _is_present(sha256: str) -> bool:
    """Return whether a file with these bytes still exists; deleting it would have deleted its answers."""
    return MediaFile.objects.filter(sha256=sha256).exists() or Proxy.objects.filter(sha256=sha256).exists()
