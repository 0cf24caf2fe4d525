"""What can be done to many files. An operation registers here; the engine knows no other thing of it."""

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
    """No operation has that name."""


class FixedParameter(ValueError):
    """A batch was started with this, and keeps it.

    Attributes:
        names: of the parameters.
    """

    def __init__(self, operation: str, names: list[str]) -> None:
        super().__init__(f"{', '.join(names)} of a batch of {operation} cannot be changed.")
        self.names = names


class Operation(ABC):
    """One kind of work over files.

    Attributes:
        name: in URLs and in the ledger, as ``image-proxy``.
        permission: who may start it.
        changeable: the parameters that may be given anew when a paused batch goes on.
        waits: whether it waits for others rather than works: its slices then go on as long as nothing else
            is due, for what is in flight at the end of each has to be waited for.
        uses: further operations whose work it does on the way. Retrying what failed releases files from
            their quarantine, too.
    """

    name: ClassVar[str]
    permission: ClassVar[str]
    changeable: ClassVar[tuple[str, ...]] = ()
    waits: ClassVar[bool] = False
    uses: ClassVar[tuple[str, ...]] = ()

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What of the form's fields enters the ledger: as JSON, with the fields that were wrong left out."""
        return dict(given)

    def changed(self, parameters: Parameters, anew: Mapping[str, Any]) -> dict[str, Any]:
        """A paused batch's parameters with those of the form's fields that are given anew.

        Raises:
            FixedParameter: one of them is not to be changed.
        """
        if fixed := sorted(set(anew) - set(self.changeable)):
            raise FixedParameter(self.name, fixed)
        values = self.parameters(anew)
        return {**parameters, **{name: values[name] for name in anew}}

    def remaining(self, parameters: Parameters, before: Batch) -> dict[str, Any]:
        """Return the parameters of a further batch of the same run, after ``before``."""
        return dict(parameters)

    def spent(self, batches: Sequence[int]) -> dict[int, Decimal]:
        """Return what batches of this operation have cost in US dollars, by id; empty where it is free."""
        return {}

    def recipe(self, parameters: Parameters) -> str:
        """Return the recipe of the proxies that it makes or sends; empty where the profile is not known."""
        profile = conf().profiles.get(parameters.get("profile", "nova"))
        return profile.recipe if profile else ""

    @abstractmethod
    def annotate(self, files: QuerySet[MediaFile], parameters: Parameters) -> QuerySet[Any]:
        """Add ``outcome``: the outcome that each file would have, as far as its row tells."""

    @abstractmethod
    def plan(self, selection: Selection, parameters: Parameters) -> Plan:
        """What a run over the selection would do. Reads only."""

    @abstractmethod
    def perform(self, claim: Claim) -> None:
        """Do the claimed items one by one, telling `claim` of each, until it says to stop."""


def spent_by(batches: Sequence[Batch]) -> dict[int, Decimal]:
    """Return what batches have cost so far in US dollars, by id; those that cost nothing are left out."""
    found: dict[int, Decimal] = {}
    for name in {batch.operation for batch in batches} & _registered.keys():
        found |= get(name).spent([batch.pk for batch in batches if batch.operation == name])
    return found


_registered: dict[str, Operation] = {}


def register(operation: Operation) -> None:
    """Make an operation known to every door."""
    _registered[operation.name] = operation


def get(name: str) -> Operation:
    """The operation of that name.

    Raises:
        UnknownOperation: there is none.
    """
    try:
        return _registered[name]
    except KeyError:
        known = ", ".join(sorted(_registered))
        raise UnknownOperation(f"There is no operation {name!r}. Known are: {known}.") from None


def registered() -> list[Operation]:
    """All operations, by name."""
    return [_registered[name] for name in sorted(_registered)]
