"""Admin forms of the analysis operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django import forms
from django.utils.translation import gettext_lazy as _

from analysis.options import BUDGET_DIGITS, BUDGET_PLACES
from analysis.providers.nova import LONGEST_QUESTION
from proxies.admin.operation_pages import OperationPage, profile_field, register
from proxies.outcomes import Outcome

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

_PLANNED: Final[dict[str, StrOrPromise]] = {
    Outcome.CREATED: _("will be sent to the model for the first time"),
    Outcome.REPLACED: _("will be sent and billed again; earlier answers are kept"),
    Outcome.REUSED: _("already answered; nothing is billed"),
    Outcome.SKIPPED: _("nothing to ask"),
    Outcome.FAILED: _("cannot be sent"),
    Outcome.QUARANTINED: _("in quarantine and left alone"),
}
_HAPPENED: Final[dict[str, StrOrPromise]] = {
    Outcome.CREATED: _("answered for the first time"),
    Outcome.REPLACED: _("answered again; earlier answers are kept"),
    Outcome.REUSED: _("already answered; nothing was billed"),
    Outcome.SKIPPED: _("nothing was asked"),
    Outcome.FAILED: _("could not be answered"),
    Outcome.QUARANTINED: _("in quarantine and left alone"),
}
_SWITCHES: Final[dict[str, StrOrPromise]] = {
    "force": _("Ask again what was answered before, and pay for it again.")
}


class AnalysisPage(OperationPage):
    def fields(self) -> dict[str, forms.Field]:
        return {
            **super().fields(),
            "profile": profile_field(
                _("whose proxies are sent; rekognition keeps more pixels, for small faces and text.")
            ),
            "max_cost": forms.DecimalField(
                required=False,
                min_value=0,
                max_digits=BUDGET_DIGITS,
                decimal_places=BUDGET_PLACES,
                label=_("Budget"),
                help_text=_("US dollars, at which the batch pauses. Empty for that of the settings."),
            ),
        }


class QuestionPage(AnalysisPage):
    def fields(self) -> dict[str, forms.Field]:
        question = forms.CharField(
            required=False,
            max_length=LONGEST_QUESTION,
            label=_("Question"),
            widget=forms.TextInput(attrs={"size": 60}),
            help_text=_("ask this of each image, instead of the usual description."),
        )
        return {**super().fields(), "question": question}


register(
    "analyze-nova",
    QuestionPage(
        label=_("Analyze (Nova)"),
        description=_(
            "Asks Amazon Nova what each selected image shows: a caption, labels, text, and objects with "
            "boxes. It sends the proxy, never GPS data; each answer is paid for once."
        ),
        switches=_SWITCHES,
        planned=_PLANNED,
        happened=_HAPPENED,
        plan_template="analysis/plan.html",
        started_template="analysis/started.html",
    ),
)
register(
    "analyze-rekognition",
    AnalysisPage(
        label=_("Analyze (Rekognition)"),
        description=_(
            "Asks Amazon Rekognition for labels, text and the other features that the settings name, in each "
            "selected image. It sends the proxy, never GPS data; each answer is paid for once."
        ),
        switches=_SWITCHES,
        planned=_PLANNED,
        happened=_HAPPENED,
        plan_template="analysis/plan.html",
        started_template="analysis/started.html",
    ),
)
