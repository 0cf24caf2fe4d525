"""Analyses as operations of the batches: one for each provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet

from analysis import budgets, claims, copies, forgetting
from analysis.errors import NotConfigured
from analysis.line import CallLine
from analysis.planning import AnalysisPlan, plan_analyses
from analysis.providers import aws
from analysis.providers.nova import LONGEST_QUESTION
from analysis.queries import with_outcome
from analysis.readiness import readiness
from analysis.wishes import BUDGET_DIGITS, BUDGET_PLACES, Run, budget_of, parameters_of
from media_files.models import MediaFile
from proxies.batches import lifecycle, sweeper
from proxies.batches.lifecycle import WrongState
from proxies.batches.operations import Operation, Parameters, profile_field, register
from proxies.batches.selection import Selection
from proxies.batches.work import Work
from proxies.models import Batch
from proxies.queries import IMAGE_PROXY


class AnalyzeOperation(Operation):
    """Sends each file to one provider."""

    provider: ClassVar[str]
    permission = "analysis.add_analysis"
    plan_template = "analysis/plan.html"
    started_template = "analysis/started.html"
    waits = True
    uses = (IMAGE_PROXY,)
    changeable = ("max_cost",)
    options: ClassVar = {"force": "Ask again what was answered before, and pay for it again."}

    def fields(self) -> dict[str, forms.Field]:
        return {
            **super().fields(),
            "profile": profile_field(
                "whose proxies are sent; rekognition keeps more pixels, for small faces and text."
            ),
            "max_cost": forms.DecimalField(
                required=False,
                min_value=0,
                max_digits=BUDGET_DIGITS,
                decimal_places=BUDGET_PLACES,
                label="Budget",
                help_text="US dollars, at which the batch pauses. Empty for that of the settings.",
            ),
        }

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
        # A page must not wait for a metadata server; what it does not know yet is met by `perform`.
        return plan_analyses(selection, self.run(parameters), readiness.missing())

    def perform(self, work: Work) -> None:
        try:
            aws.require_setup()
            run = self.run(work.batch.parameters)
            run.require_price()
            line = CallLine(run, work)
        except NotConfigured as error:
            with suppress(WrongState):  # another worker, or a person, was faster
                lifecycle.pause(work.batch, reason=str(error), code=error.code)
            return
        line.run()

    def run(self, parameters: Parameters) -> Run:
        return Run.of(self.provider, parameters)


class AnalyzeNova(AnalyzeOperation):
    name = "analyze-nova"
    label = "Analyze (Nova)"
    provider = "nova"
    description = (
        "Has Amazon Nova say what each selected image shows: a caption, labels, text, objects and where they "
        "are. Its proxy is sent, never a place; each answer is paid for once."
    )

    def fields(self) -> dict[str, forms.Field]:
        question = forms.CharField(
            required=False,
            max_length=LONGEST_QUESTION,
            widget=forms.TextInput(attrs={"size": 60}),
            help_text="ask this of each image, instead of the usual description.",
        )
        return {**super().fields(), "question": question}


class AnalyzeRekognition(AnalyzeOperation):
    name = "analyze-rekognition"
    label = "Analyze (Rekognition)"
    provider = "rekognition"
    description = (
        "Has Amazon Rekognition find labels, text and what else the settings name in each selected image. "
        "Its proxy is sent, never a place; each answer is paid for once."
    )


sweeper.also(claims.settle_broken_off)
sweeper.also(copies.remove_left_over)
sweeper.also(forgetting.delete_expired)
register(AnalyzeNova())
register(AnalyzeRekognition())
