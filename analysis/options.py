"""The parameters of a run, as every door takes them and the ledger keeps them."""

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

# Of a budget in US dollars, at every door.
BUDGET_DIGITS: Final = 9
BUDGET_PLACES: Final = 4
_TOO_MUCH: Final = 10 ** (BUDGET_DIGITS - BUDGET_PLACES)


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be asked of many files.

    Attributes:
        provider: who is asked.
        profile: whose proxies are sent.
        force: whether to ask again what was answered before.
        wishes: what is asked otherwise than the settings say.
        budget: US dollars at the most; None for no limit.
    """

    provider: Provider
    profile: ProxyProfile
    force: bool
    options: Options
    budget: Decimal | None

    @classmethod
    def of(cls, provider: str, parameters: Mapping[str, Any]) -> Run:
        """The run that a ledger's parameters stand for.

        Raises:
            NotConfigured: the settings have that profile no more.
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
        """What is asked of each file.

        Raises:
            NotConfigured, ValueError: the settings or the provider do not allow it.
        """
        return self.provider.requests(self.options)

    @property
    def possible_requests(self) -> list[Request]:
        """The same; nothing where the settings do not allow it, which a plan says and a batch pauses by."""
        try:
            return self.requests
        except NotConfigured:
            return []

    def require_price(self) -> None:
        """Nothing, where a budget can be kept.

        Raises:
            NotConfigured: there is a budget, and no price of what is asked.
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
    """The parameters as JSON, for the ledger."""
    return {
        "force": force,
        "profile": profile,
        "question": question,
        "features": list(features),
        "max_cost": None if max_cost is None else str(max_cost),
    }


def budget_of(given: object) -> Decimal | None:
    """US dollars; those of the settings where nothing is given; None for no limit.

    Raises:
        ValueError: it is no sum of money, or more than any door takes.
    """
    if given in (None, ""):
        return conf().budget
    try:
        amount = Decimal(str(given))
    except InvalidOperation:
        raise ValueError(f"{given!r} is no sum of money, as 2.50.") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{given!r} is no sum of money, as 2.50.")
    if amount >= _TOO_MUCH:
        raise ValueError(f"A budget of {given!r} is too much: it must be less than ${_TOO_MUCH:,}.")
    return amount
