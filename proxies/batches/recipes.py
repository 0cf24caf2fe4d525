"""Match workers to items: a worker takes only items that were planned with the recipe it makes proxies by.

If no running worker has an item's recipe, its batch pauses and shows how the recipes differ, until such a
worker runs or a person resumes it with the current settings. Uploads never pause; they adopt the current
recipe.
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
"""The recipe of an item that any worker may take, such as one from an older version."""


def of_batch(batch: Batch) -> str:
    """Return the recipe that this process makes the batch's proxies by."""
    return operations.get(batch.operation).recipe(batch.parameters)


def of_this_process() -> list[str]:
    """Return the recipes of the items that this process may take."""
    return [ANY, *sorted(profile.recipe for profile in conf().profiles.values())]


def adopt(batch: Batch) -> int:
    """Assign this process's recipe to the waiting items; return how many had another one."""
    recipe = of_batch(batch)
    waiting = BatchItem.objects.filter(batch=batch, state=BatchItem.State.QUEUED)
    # Two index ranges: "not equal" would read the whole index.
    others = (Q(recipe__lt=recipe), Q(recipe__gt=recipe))
    return sum(waiting.filter(other).update(recipe=recipe) for other in others)


def hindrance(batch: Batch, workers: Iterable[WorkerState]) -> dict[str, Any]:
    """Return the column values that pause a batch because of its recipe; empty if work can continue.

    Args:
        batch: a batch of the queue.
        workers: the running ones. Without any, the batch does not pause.
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
    """Pause batches whose recipe no running worker has; resume those whose recipe a worker has again.

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
    """Return the recipes of the waiting items: one index lookup per recipe, however many items."""
    waiting = BatchItem.objects.filter(batch=batch, state=BatchItem.State.QUEUED).order_by("recipe")
    found: list[str] = []
    following = waiting
    while (recipe := following.values_list("recipe", flat=True).first()) is not None:
        found.append(recipe)
        following = waiting.filter(recipe__gt=recipe)
    return set(found)
