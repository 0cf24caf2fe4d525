"""Batch operations for analyses, one for each provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, ClassVar

from django.db.models import QuerySet

from analysis import budgets, erasure, inflight, s3_copies
from analysis.errors import NotConfigured
from analysis.options import Run, budget_of, parameters_of
from analysis.pipeline import CallLine
from analysis.planning import AnalysisPlan, plan_analyses
from analysis.providers import aws
from analysis.queries import with_outcome
from analysis.readiness import readiness
from media_files.models import MediaFile
from proxies.batches import lifecycle, sweeper
from proxies.batches.claim import Claim
from proxies.batches.lifecycle import WrongState
from proxies.batches.operations import Operation, Parameters, register
from proxies.batches.selection import Selection
from proxies.models import Batch
from proxies.queries import IMAGE_PROXY


class AnalyzeOperation(Operation):
    """Send each file to one provider."""

    provider: ClassVar[str]
    permission = "analysis.add_analysis"
    waits = True
    uses = (IMAGE_PROXY,)
    changeable = ("max_cost",)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return parameters_of(
            force=bool(given.get("force")),
            profile=given.get("profile") or "nova",
            question=given.get("question") or "",
            max_cost=given.get("max_cost"),
        )

    def remaining(self, parameters: Parameters, before: Batch) -> dict[str, Any]:
        budget = budget_of(parameters.get("max_cost"))
        left = None if budget is None else max(Decimal(0), budget - budgets.spent(before.pk))
        return {**parameters, "max_cost": None if left is None else str(left)}

    def spent(self, batches: Sequence[int]) -> dict[int, Decimal]:
        return dict.fromkeys(batches, Decimal(0)) | budgets.spent_by(batches)

    def annotate(self, files: QuerySet[MediaFile], parameters: Parameters) -> QuerySet[Any]:
        run = self.run(parameters)
        return with_outcome(files, self.provider, run.possible_requests, run.profile, force=run.force)

    def plan(self, selection: Selection, parameters: Parameters) -> AnalysisPlan:
        # A page must not wait for a metadata server; `perform` checks the setup again.
        return plan_analyses(selection, self.run(parameters), readiness.missing())

    def perform(self, claim: Claim) -> None:
        try:
            aws.require_setup()
            run = self.run(claim.batch.parameters)
            run.require_price()
            line = CallLine(run, claim)
        except NotConfigured as error:
            with suppress(WrongState):  # already paused or ended by another worker or a user
                lifecycle.pause(claim.batch, reason=str(error), code=error.code)
            return
        line.run()

    def run(self, parameters: Parameters) -> Run:
        return Run.of(self.provider, parameters)


class AnalyzeNova(AnalyzeOperation):
    name = "analyze-nova"
    provider = "nova"


class AnalyzeRekognition(AnalyzeOperation):
    name = "analyze-rekognition"
    provider = "rekognition"


sweeper.also(inflight.settle_broken_off)
sweeper.also(s3_copies.remove_left_over)
sweeper.also(erasure.delete_expired)
register(AnalyzeNova())
register(AnalyzeRekognition())
