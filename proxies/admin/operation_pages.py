"""The presentation of an operation in the admin: its label, its form and its templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from proxies.conf import conf
from proxies.labels import HAPPENED, PLANNED, word_of

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


@dataclass(frozen=True, slots=True)
class OperationPage:
    """One operation, as the admin shows it.

    Attributes:
        label: the name on buttons and in lists.
        description: one sentence for the person who is about to start it.
        switches: a sentence for each of its parameters that can be switched on.
        plan_template: the part of the preview page that shows the totals of a run.
        started_template: the same part of the page of a batch, whose plan is JSON.
        planned: what each outcome means in the preview.
        happened: what each outcome means once a file is done.
    """

    label: StrOrPromise
    description: StrOrPromise = ""
    switches: Mapping[str, StrOrPromise] = field(default_factory=dict)
    plan_template: str = "proxies/plan_storage.html"
    started_template: str = "proxies/started_storage.html"
    planned: Mapping[str, StrOrPromise] = field(default_factory=lambda: PLANNED)
    happened: Mapping[str, StrOrPromise] = field(default_factory=lambda: HAPPENED)

    def fields(self) -> dict[str, forms.Field]:
        """Return the form's fields by parameter: a checkbox for each switch."""
        return {
            name: forms.BooleanField(required=False, label=capfirst(word_of(name)), help_text=sentence)
            for name, sentence in self.switches.items()
        }


def profile_field(help_text: StrOrPromise) -> forms.Field:
    """Return a field to choose a profile, ``nova`` first; an empty choice means ``nova``."""
    names = sorted(conf().profiles, key=lambda name: (name != "nova", name))
    return forms.ChoiceField(
        label=_("Profile"),
        choices=[(name, name) for name in names],
        required=False,
        initial="nova",
        help_text=help_text,
    )


_pages: Final[dict[str, OperationPage]] = {}


def register(operation: str, page: OperationPage) -> None:
    """Show an operation on its own page and in the list's actions."""
    _pages[operation] = page


def page_of(operation: str) -> OperationPage:
    """Return an operation's page; if none is registered, a page with its code as label."""
    return _pages.get(operation) or OperationPage(operation)


class ImageProxyPage(OperationPage):
    def fields(self) -> dict[str, forms.Field]:
        profile = profile_field(
            _("for which model; rekognition keeps more pixels, for small faces and text.")
        )
        return {**super().fields(), "profile": profile}


register(
    "image-proxy",
    ImageProxyPage(
        label=_("Image Proxies (Nova)"),
        description=_(
            "Makes a small upright JPEG or PNG of each selected image, shorter side 896 px, for the model to "
            "read. Originals are not changed."
        ),
        switches={"force": _("Make proxies again even if they are up to date.")},
    ),
)
