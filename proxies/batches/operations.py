"""The operations that a batch can run. Each registers here; the engine uses only the interface below."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from django.db.models import QuerySet

from media_files.models import MediaFile
from proxies.conf import conf

if TYPE_CHECKING:
    from proxies.batches.claim import Claim
    from proxies.batches.plan import Plan
    from proxies.batches.selection import Selection
    from proxies.models import Batch

Parameters = Mapping[str, Any]


class UnknownOperation(LookupError):
    """No operation has this name."""


class FixedParameter(ValueError):
    """A parameter that cannot be changed after the batch has started.

    Attributes:
        names: the parameters.
    """

    def __init__(self, operation: str, names: list[str]) -> None:
        super().__init__(f"{', '.join(names)} of a batch of {operation} cannot be changed.")
        self.names = names


class Operation(ABC):
    """One kind of work on files.

    Attributes:
        name: in URLs and in the ledger, for example ``image-proxy``.
        permission: required to start it.
        changeable: the parameters that may change when a paused batch resumes.
        waits: whether it mostly waits for a service. Its ticks then continue as long as nothing else is due,
            because each tick must wait at its end for the requests in flight.
        uses: other operations whose work it does along the way. Retrying failed items releases files from
            their quarantine, too.
    """

    name: ClassVar[str]
    permission: ClassVar[str]
    changeable: ClassVar[tuple[str, ...]] = ()
    waits: ClassVar[bool] = False
    uses: ClassVar[tuple[str, ...]] = ()

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the form's fields as the ledger stores them: as JSON, without the invalid fields."""
        return dict(given)

    def changed(self, parameters: Parameters, new_parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a paused batch's parameters, updated with the form fields in ``new_parameters``.

        Raises:
            FixedParameter: one of them cannot be changed.
        """
        if fixed := sorted(set(new_parameters) - set(self.changeable)):
            raise FixedParameter(self.name, fixed)
        values = self.parameters(new_parameters)
        return {**parameters, **{name: values[name] for name in new_parameters}}

    def remaining(self, parameters: Parameters, before: Batch) -> dict[str, Any]:
        """Return the parameters of the next batch of the same run, after ``before``."""
        return dict(parameters)

    def spent(self, batches: Sequence[int]) -> dict[int, Decimal]:
        """Return the cost of batches of this operation in US dollars, by id; empty if it is free."""
        return {}

    def recipe(self, parameters: Parameters) -> str:
        """Return the recipe of the proxies that it makes or sends; empty if the profile is unknown."""
        profile = conf().profiles.get(parameters.get("profile", "nova"))
        return profile.recipe if profile else ""

    @abstractmethod
    def annotate(self, files: QuerySet[MediaFile], parameters: Parameters) -> QuerySet[Any]:
        """Annotate each file with ``outcome``: its expected outcome, as far as its row shows."""

    @abstractmethod
    def plan(self, selection: Selection, parameters: Parameters) -> Plan:
        """Return what a run over the selection would do, without writing."""

    @abstractmethod
    def perform(self, claim: Claim) -> None:
        """Process the claimed items one by one, reporting each to `claim`, until it ends."""


def spent_by(batches: Sequence[Batch]) -> dict[int, Decimal]:
    """Return the cost of batches so far in US dollars, by id; those that cost nothing are left out."""
    found: dict[int, Decimal] = {}
    for name in {batch.operation for batch in batches} & _registered.keys():
        found |= get(name).spent([batch.pk for batch in batches if batch.operation == name])
    return found


_registered: dict[str, Operation] = {}


def register(operation: Operation) -> None:
    """Make an operation available to the admin, the API and the commands."""
    _registered[operation.name] = operation


def get(name: str) -> Operation:
    """Return the operation with this name.

    Raises:
        UnknownOperation: there is none.
    """
    try:
        return _registered[name]
    except KeyError:
        known = ", ".join(sorted(_registered))
        raise UnknownOperation(f"There is no operation {name!r}. Known are: {known}.") from None


def registered() -> list[Operation]:
    """Return all operations, sorted by name."""
    return [_registered[name] for name in sorted(_registered)]
