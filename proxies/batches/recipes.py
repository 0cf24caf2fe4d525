"""Which workers may take which items: those that make proxies by the recipe that the item was planned with.

Where no running worker has an item's recipe, its batch pauses and says how they differ, until such a worker
runs or a person resumes it with the settings of today. The uploads never pause; they adopt today's recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from django.db.models import Q

from proxies.batches import operations
from proxies.conf import conf
from proxies.models import Batch, BatchItem, WorkerState
from proxies.rendering.profiles import recipe_difference

logger = logging.getLogger(__name__)

WRONG_RECIPE: Final = "wrong_recipe"
ANY: Final = ""
"""The recipe of an item that every worker may take, such as one of an older version."""


def of_batch(batch: Batch) -> str:
    """Return the recipe by which this process makes the batch's proxies."""
    return operations.get(batch.operation).recipe(batch.parameters)


def of_this_process() -> list[str]:
    """Return the recipes of the items that this process may take."""
    return [ANY, *sorted(profile.recipe for profile in conf().profiles.values())]


def adopt(batch: Batch) -> int:
    """Have the waiting items made by this process's recipe; return how many had another one."""
    recipe = of_batch(batch)
    waiting = BatchItem.objects.filter(batch=batch, state=BatchItem.State.QUEUED)
    # Two ranges of the index, where "not equal" would read all of it.
    others = (Q(recipe__lt=recipe), Q(recipe__gt=recipe))
    return sum(waiting.filter(other).update(recipe=recipe) for other in others)


def hindrance(batch: Batch, workers: Iterable[WorkerState]) -> dict[str, Any]:
    """Return the columns of a batch that must pause because of its recipe; nothing where work can go on.

    Args:
        batch: a batch of the queue.
        workers: those that run. Without any, nothing can be said.
    """
    workers = list(workers)
    waiting = _waiting(batch)
    if not workers or not waiting:
        return {}
    older = [worker for worker in workers if worker.recipes is None]
    if older and waiting != {ANY}:
        return _paused(
            f"The worker on {older[0].host}, process {older[0].pid}, is of an older version, which would "
            "take outdated proxies for current ones. Stop it; the batch then resumes automatically."
        )
    others = {recipe for worker in workers for recipe in (worker.recipes or {}).values()}
    if waiting & {ANY, *others}:
        return {}
    wanted = min(waiting)
    differences = recipe_difference(wanted, others)
    return _paused(
        f"No running worker makes proxies as this batch was planned ({wanted}): {differences}. Start a "
        "worker with the batch's settings, or resume the batch to make the rest with today's."
    )


def look_after() -> int:
    """Pause the batches whose recipe no running worker has, and resume those whose recipe one has again.

    Returns:
        How many batches and uploads changed.
    """
    workers = list(WorkerState.objects.alive())
    if not workers:
        return 0
    queue = Batch.objects.filter(executor=Batch.Executor.QUEUE, started_at__isnull=False)
    changed = 0
    for batch in queue.filter(state=Batch.State.RUNNING):
        values = hindrance(batch, workers)
        if batch.standing:
            changed += adopt(batch) if values or ANY in _waiting(batch) else 0
        elif values:
            logger.warning("%s pauses. %s", batch.job_id, values["paused_reason"])
            changed += queue.filter(pk=batch.pk, state=Batch.State.RUNNING).update(**values)
    for batch in queue.filter(state=Batch.State.PAUSED, paused_code=WRONG_RECIPE):
        if not hindrance(batch, workers):
            logger.info("%s resumes: a worker with its recipe is running.", batch.job_id)
            paused = queue.filter(pk=batch.pk, state=Batch.State.PAUSED, paused_code=WRONG_RECIPE)
            changed += paused.update(state=Batch.State.RUNNING, paused_reason="", paused_code="")
    return changed


def _paused(reason: str) -> dict[str, Any]:
    return {"state": Batch.State.PAUSED, "paused_code": WRONG_RECIPE, "paused_reason": reason[:1000]}


def _waiting(batch: Batch) -> set[str]:
    """Return the recipes of the items that wait: one look into the index for each, however many items."""
    waiting = BatchItem.objects.filter(batch=batch, state=BatchItem.State.QUEUED).order_by("recipe")
    found: list[str] = []
    following = waiting
    while (recipe := following.values_list("recipe", flat=True).first()) is not None:
        found.append(recipe)
        following = waiting.filter(recipe__gt=recipe)
    return set(found)
