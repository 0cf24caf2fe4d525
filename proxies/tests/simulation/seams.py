"""Where the simulation takes the place of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from proxies.tests.simulation import database, postgres, present, processes, threads
from proxies.tests.simulation.scheduler import World


def _storage_gate(phase: str, operation: str, place: str, name: str) -> None:
    """What each call of a storage in memory goes through."""
    present.point("storage", f"{phase} {operation} {place} {name}")


@contextmanager
def in_place(run: World) -> Iterator[None]:
    """Have the code under test meet the simulated machine while the block runs."""
    from django.db import connections

    from proxies.tests.simulation.storage import MemoryStorage

    with ExitStack() as patches:
        for part in (database, postgres, processes, threads):
            part.install(patches)
        for name, value in (("gate", _storage_gate), ("moment", lambda: run.clock.monotonic)):
            patches.enter_context(mock.patch.object(MemoryStorage, name, staticmethod(value)))
        run.drop_connections, run.break_connections = database.drop_connections, database.break_connections
        present.enter(run)
        try:
            yield
        finally:
            run.current = None
            connections.close_all()
            present.leave()
