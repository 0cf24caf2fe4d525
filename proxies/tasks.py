"""The tasks of the job queue. Queued jobs and the schedule store these dotted names: never rename them."""

from __future__ import annotations

from proxies.batches import runner, sweeper


def run_slice(slot: int, generation: int) -> int:
    """Run a tick of a second or two in a worker slot, and return how many items were started.

    Args:
        slot: the number of the worker slot.
        generation: of the slot; a job of an older generation returns at once.
    """
    return runner.run_tick(slot, generation)


def sweep() -> str:
    """Recover what dead processes held; scheduled every minute, and the queue's heartbeat."""
    return str(sweeper.sweep())
