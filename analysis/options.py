"""The parameters of a run, shared by the admin, the API and the commands, and stored with the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from analysis.conf import conf
from analysis.errors import NotConfigured
from analysis.providers import Provider, get
from analysis.providers.base import Options, Request, Usage
from analysis.services import AnalysisService
from proxies.conf import conf as proxies_conf
from proxies.rendering.profiles import ProxyProfile

# Digits and decimal places of a budget in US dollars, in forms, API and commands.
BUDGET_DIGITS: Final = 9
BUDGET_PLACES: Final = 4
_TOO_MUCH: Final = 10 ** (BUDGET_DIGITS - BUDGET_PLACES)


@dataclass(frozen=True, slots=True)
class Run:
    """An analysis of many files.

    Attributes:
        provider: the provider to call.
        profile: the profile whose proxies are sent.
        force: whether to repeat calls that have an answer.
        options: overrides of the settings.
        budget: maximum US dollars; None for no limit.
    """

    provider: Provider
    profile: ProxyProfile
    force: bool
    options: Options
    budget: Decimal | None

    @classmethod
    def of(cls, provider: str, parameters: Mapping[str, Any]) -> Run:
        """Return the run for a batch's stored parameters.

        Raises:
            NotConfigured: the profile no longer exists in the settings.
        """
        return cls(
            provider=get(provider),
            profile=_profile(parameters.get("profile") or "nova"),
            force=bool(parameters.get("force", False)),
            options=Options(str(parameters.get("question") or ""), tuple(parameters.get("features") or ())),
            budget=budget_of(parameters.get("max_cost")),
        )

    @property
    def requests(self) -> list[Request]:
        """Return the requests for each file.

        Raises:
            NotConfigured, ValueError: the settings or the provider do not allow them.
        """
        return self.provider.requests(self.options)

    @property
    def possible_requests(self) -> list[Request]:
        """Return the same, but nothing if the settings forbid it; a plan reports that, and a batch pauses."""
        try:
            return self.requests
        except NotConfigured:
            return []

    def require_price(self) -> None:
        """Check that the budget, if any, can be enforced.

        Raises:
            NotConfigured: there is a budget but no price for a request.
        """
        if self.budget is None:
            return
        for request in self.requests:
            price = self.provider.price(request, Usage())
            if price.amount is None:
                raise NotConfigured(
                    f"A budget of ${self.budget} cannot be kept: {price.source}. Add the price there, or run "
                    "without a budget."
                )

    def service(self, batch_id: int, *, is_stopping: Callable[[], bool]) -> AnalysisService:
        return AnalysisService(
            self.provider,
            profile=self.profile.name,
            force=self.force,
            options=self.options,
            batch_id=batch_id,
            is_stopping=is_stopping,
        )


def _profile(name: str) -> ProxyProfile:
    try:
        return proxies_conf().profiles[name]
    except KeyError:
        raise NotConfigured(f"There is no profile {name!r}. Set it in NOVAPROXY_PROFILES.") from None


def parameters_of(
    *,
    force: bool = False,
    profile: str = "nova",
    question: str = "",
    features: Iterable[str] = (),
    max_cost: Decimal | None = None,
) -> dict[str, Any]:
    """Return the parameters as JSON-compatible values, to be stored with the batch."""
    return {
        "force": force,
        "profile": profile,
        "question": question,
        "features": list(features),
        "max_cost": None if max_cost is None else str(max_cost),
    }


def budget_of(given: object) -> Decimal | None:
    """Return a budget in US dollars: the given one or that of the settings; None for no limit.

    Raises:
        ValueError: it is not an amount of money, or too large.
    """
    if given in (None, ""):
        return conf().budget
    try:
        amount = Decimal(str(given))
    except InvalidOperation:
        raise ValueError(f"{given!r} is not an amount of money. Write it like 2.50.") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{given!r} is not an amount of money. Write it like 2.50.")
    if amount >= _TOO_MUCH:
        raise ValueError(f"A budget of {given!r} is too much: it must be less than ${_TOO_MUCH:,}.")
    return amount
