"""Install the simulation's replacements for the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from proxies.tests.simulation import database, postgres, present, processes, threads
from proxies.tests.simulation.scheduler import World


def _storage_gate(phase: str, operation: str, place: str, name: str) -> None:
    """Make each call of a storage in memory a scheduling point."""
    present.point("storage", f"{phase} {operation} {place} {name}")


@contextmanager
def in_place(run: World) -> Iterator[None]:
    """Have the code under test use the simulated machine inside the block."""
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
