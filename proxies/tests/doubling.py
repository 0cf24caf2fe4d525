"""Run the same tick in two processes at the same moment. Runs inside an installation."""

from __future__ import annotations

import os

from django.db import connection, connections

from proxies.batches import runner
from proxies.models import WorkerSlot


def run_twice(slot: WorkerSlot) -> list[int]:
    """Run the tick of a notified slot twice at once; return how many items each process claimed, sorted."""
    connections.close_all()
    start, go = os.pipe()
    answers, answer = os.pipe()
    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            connection.ensure_connection()
            os.write(answer, b"ready\n")
            os.read(start, 1)  # until the parent closes the other end
            os.write(answer, f"{runner.run_tick(slot.number, slot.generation)}\n".encode())
            os._exit(0)
        children.append(pid)
    os.close(answer)
    os.close(start)
    with os.fdopen(answers) as lines:
        ready = [lines.readline() for _ in children]
        os.close(go)
        taken = [int(line) for line in lines]
    assert ready == ["ready\n"] * 2
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    return sorted(taken)
