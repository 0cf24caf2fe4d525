"""The queue: it delivers at least once, sometimes twice, and sometimes not at all."""

from __future__ import annotations

import random
from collections.abc import Callable

from django.conf import settings
from django.utils.timezone import now

from proxies.tests.simulation.scheduler import World


class Queue:
    """Replacement for django-q2: rows of the database, or a list beside it, like a broker."""

    def __init__(self, world: World, seed: int, *, in_database: bool) -> None:
        self.world, self.in_database = world, in_database
        self.dice = random.Random(f"queue {seed}")
        self.rings = 0
        self.faithless = self.dice.choice([0.0, 0.1, 0.3])
        self.messages: list[tuple[int, int]] = []

    def notify(self, slot: int, generation: int) -> None:
        """Enqueue a tick: in the caller's transaction, where the queue is the database."""
        from django_q.models import OrmQ

        from proxies.batches.worker_slots import QueueDown

        if self.in_database:
            OrmQ.objects.create(key="simulation", payload=f"{slot} {generation}", lock=now())
        else:
            self.world.point("ring")
            if self.world.faults is not None and self.dice.random() < self.faithless / 3:
                raise QueueDown("Redis does not answer.")
            self.messages.append((slot, generation))
        self.rings += 1

    def take(self) -> tuple[int, int] | None:
        """Take the next tick. An unreliable queue loses it, or delivers it again later."""
        fate = self.dice.random() if self.world.faults is not None else 1.0
        message = self._take_row(fate) if self.in_database else self._take_message(fate)
        return None if fate < self.faithless / 2 else message

    def _take_row(self, fate: float) -> tuple[int, int] | None:
        from django_q.models import OrmQ

        row = OrmQ.objects.order_by("id").first()
        if row is None:
            return None
        if fate >= self.faithless and not OrmQ.objects.filter(pk=row.pk).delete()[0]:
            return None
        if fate < self.faithless / 2:
            OrmQ.objects.filter(pk=row.pk).delete()
        slot, _, generation = row.payload.partition(" ")
        return int(slot), int(generation)

    def _take_message(self, fate: float) -> tuple[int, int] | None:
        if not self.messages:
            return None
        message = self.messages.pop(0)
        if self.faithless / 2 <= fate < self.faithless:
            self.messages.append(message)
        return message

    def waiter(self) -> Callable[[], bool]:
        """Return a function that says whether something may have arrived since now."""
        seen = self.rings
        return lambda: self.rings != seen or bool(self.messages)

    @property
    def broker(self) -> str:
        return "orm" if self.in_database else "redis://simulated:6379/0"


def set_broker(queue: Queue) -> None:
    """Point the code under test to the queue."""
    settings.NOVAPROXY_BROKER = queue.broker
