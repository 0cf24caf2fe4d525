"""Fixes taken back one at a time, to prove that the simulation finds what each of them mended.

A mutant is the module's own source with a few lines put back as they were. It is made while the module is
imported, so nothing on disk changes. `proof` plays them.
"""

# ruff: noqa: E501 - lines of other modules, as they are there

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """One fix, taken back.

    Attributes:
        fault: what was wrong before the fix.
        changes: (module, the lines of today, the lines before).
        seed: a run that fails with the mutant and passes without it; None if none is known.
    """

    fault: str
    changes: tuple[tuple[str, str, str], ...]
    seed: int | None = None


class MutantOutdated(Exception):
    """The lines that a mutant replaces are not in the source any more."""


MUTANTS: dict[str, Mutant] = {
    "same-host-same-pid": Mutant(
        "Two containers that share a host name take each other's pids for their own.",
        (
            (
                "proxies.processes.identity",
                "    if space != _space(os.getpid()):\n        return None\n    try:",
                "    try:",
            ),
        ),
        seed=5360,
    ),
    "begin-uncounted": Mutant(
        "An exception without a name in `begin` puts the item back uncharged, for ever.",
        (
            (
                "proxies.pipeline",
                """        except BaseException as fault:  # noqa: BLE001 - `failed` raises what the next item would meet
            self._claim.failed(item, fault)

    def _fetched""",
                """        except BaseException:
            raise

    def _fetched""",
            ),
        ),
        seed=4498,
    ),
    "charge-never-taken": Mutant(
        "A live process whose lease ran out gives back charges that it never took.",
        (
            (
                "proxies.batches.recovery",
                "        return requeue(held, attempts=WITHOUT_CHARGE, **UNLEASED)",
                """        from django.db.models import F
        charges = min(1, item.attempts)
        return requeue(held, attempts=F("attempts") - charges, **UNLEASED)""",
            ),
        ),
    ),
    "waiting-is-decoding": Mutant(
        "Waiting for a model's answer counts as decoding, so that stops quarantine an innocent file.",
        (
            (
                "analysis.pipeline",
                "            self._claim.survived(item)\n",
                "            pass\n",
            ),
        ),
    ),
    "damaged-reused": Mutant(
        "A damaged or missing proxy is reused, because its row says that it is up to date.",
        (("proxies.services", "if self.checks_files and not is_intact(proxy):", "if False:"),),
        seed=14,
    ),
    "other-recipe-claims": Mutant(
        "A worker with other settings takes items that were planned by ours.",
        (
            (
                "proxies.models.batch",
                "due = self.filter(state=BatchItem.State.QUEUED, recipe=recipe, available_at__lte=now())",
                "due = self.filter(state=BatchItem.State.QUEUED, available_at__lte=now())",
            ),
        ),
        seed=1709,
    ),
    "limit-resumes": Mutant(
        "`analyze_images --limit` resumes an earlier batch of any size.",
        (
            (
                "proxies.run_scope",
                "if limit is None and _is_same(batch, wanted, changeable)",
                "if _is_same(batch, parameters, changeable)",
            ),
        ),
        seed=82,
    ),
    "expected-reserved": Mutant(
        "What a call is expected to cost is reserved, not the most, so that calls in flight exceed a budget.",
        (
            (
                "analysis.budgets",
                "amounts = [(row, prices.nano(most)) for row, most in calls]",
                "amounts = [(row, prices.nano(row.cost)) for row, _ in calls]",
            ),
        ),
    ),
    "failed-hook-deletes": Mutant(
        "Whatever is raised after the commit of a row deletes its file.",
        (
            (
                "media_files.models",
                "            note.give_up()\n            raise\n        self.known_name",
                "            self.file.storage.delete(str(self.file.name))\n            raise\n        self.known_name",
            ),
        ),
        seed=1512,
    ),
    "replaced-at-once": Mutant(
        "Of two replacements at the same moment the loser's file is left.",
        (
            (
                "media_files.models",
                """            with transaction.atomic():
                # In the transaction, so that each of two concurrent replacements removes what it replaced.
                before = MediaFile.objects.select_for_update().filter(pk=self.pk).first() if self.pk else None
""",
                """            before = MediaFile.objects.filter(pk=self.pk).first() if self.pk else None
            with transaction.atomic():
""",
            ),
        ),
        seed=9516,
    ),
    "stale-content-key": Mutant(
        "A replaced file keeps the key of its old bytes, so that importing those fails.",
        (
            (
                "media_files.models",
                "        if instance.content_key != facts.sha256:\n            instance.content_key = None\n",
                "",
            ),
        ),
        seed=1,
    ),
    "lost-original-believed": Mutant(
        "A lost original is there already when the same bytes come again.",
        (("media_files.services", "        restore_file(row, stream, facts)\n", "        pass\n"),),
        seed=9243,
    ),
    "registered-twice": Mutant(
        "Two registrations of one file at the same moment give two rows.",
        (
            (
                "media_files.services",
                "content_key=hashlib.sha256(place.encode()).hexdigest(),",
                "content_key=None,",
            ),
        ),
        seed=9617,
    ),
    "given-without-a-note": Mutant(
        "A given proxy whose source is deleted meanwhile leaves an unknown file.",
        (
            (
                "proxies.external",
                "        writing.abandon(source.pk, profile, token, note)\n        raise\n",
                "        leases.release(source.pk, profile, token)\n        if note is not None:\n            note.delete()\n        raise\n",
            ),
        ),
    ),
    "counts-of-cancelled": Mutant(
        "A cancelled batch shows the counts of the moment, in which items were still in hand.",
        (
            (
                "proxies.batches.counts",
                'if not batch.is_open and not batch.counts.get("running"):',
                "if not batch.is_open:",
            ),
        ),
    ),
    "finished-while-retried": Mutant(
        "A batch is completed while its failures are put back, which nobody then does.",
        (
            (
                "proxies.batches.lifecycle",
                "        if unfinished.select_for_update().first() is None or items.exists():\n",
                "        if unfinished.first() is None:\n",
            ),
        ),
    ),
    "stop-loses-answers": Mutant(
        "A planned stop gives up the calls in flight, whose answers are paid for.",
        (
            (
                "analysis.pipeline",
                "                self._record_answered()\n        finally:\n",
                "                self._record_answered()\n                if self._claim.is_stopping():\n                    break\n        finally:\n",
            ),
        ),
    ),
    "deleted-is-paid-again": Mutant(
        "The answers of a deleted file go with it, and are paid for again with the next import.",
        (
            (
                "analysis.services",
                "answers = Analysis.everything.answering(",
                "answers = Analysis.objects.answering(",
            ),
        ),
    ),
}


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, changes: Sequence[tuple[str, str]]) -> None:
        super().__init__(fullname, path)
        self._changes = changes

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        for today, before in self._changes:
            if source.count(today) != 1:
                raise MutantOutdated(f"{fullname} has these lines {source.count(today)} times:\n{today}")
            source = source.replace(today, before)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        changes = [(today, before) for module, today, before in self._mutant.changes if module == fullname]
        if not changes:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        loader: Loader = _Loader(fullname, spec.origin, changes)
        spec.loader = loader
        return spec


def check(name: str) -> None:
    """Check that the lines to be replaced are in the source.

    Raises:
        MutantOutdated: they are not, or are there twice.
    """
    for module, _, _ in MUTANTS[name].changes:
        package = import_module(module.rpartition(".")[0])
        spec = _Finder(MUTANTS[name]).find_spec(module, package.__path__)
        assert spec is not None
        assert isinstance(spec.loader, _Loader)
        spec.loader.get_code(module)


def apply(name: str) -> None:
    """Take the fix back in this process. Call this before Django is set up.

    Raises:
        MutantOutdated: on import, where the lines to be replaced have changed.
    """
    sys.meta_path.insert(0, _Finder(MUTANTS[name]))
