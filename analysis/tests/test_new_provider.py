"""A new provider is one class that registers itself; everything else works without changes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from analysis import prices
from analysis.models import Analysis
from analysis.operation import AnalyzeOperation
from analysis.options import parameters_of
from analysis.prices import Price
from analysis.providers import base
from analysis.providers.base import Answer, Image, Options, Provider, Request, S3Location, Usage
from analysis.results import Found, Result
from analysis.tests.wire import Service
from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from proxies.batches import lifecycle, operations
from proxies.batches.claim import Claim
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.models import Batch

pytestmark = pytest.mark.django_db(transaction=True)


class Ruler(Provider):
    """Reports the width of a picture; raises an exception on portrait ones."""

    name = "ruler"
    label = "Ruler"
    service = ""

    def requests(self, options: Options) -> list[Request]:
        return [Request("wood", {}, version=1)]

    def check(self, image: Image, *, embedded: bool) -> None:
        if image.width * 2 < image.height:
            raise RuntimeError("The ruler broke before it was laid on.")

    def ask(self, request: Request, image: Image, content: bytes | S3Location) -> Answer:
        if image.width < image.height:
            raise RuntimeError("The ruler broke.")
        return Answer(Result(labels=[Found(f"{image.width} px")]))

    def usage(self, request: Request, image: Image, tokens_in: int | None, tokens_out: int | None) -> Usage:
        return Usage()

    def price(self, request: Request, usage: Usage) -> Price:
        return Price(Decimal("0.5"), prices.day(), "the shop")

    def expected(self, request: Request, image: Image, *, answer_tokens: int | None) -> Usage:
        return Usage()

    def most_answer_tokens(self, request: Request) -> int | None:
        return None


class Measure(AnalyzeOperation):
    name = "analyze-ruler"
    provider = "ruler"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch, nova: Service) -> None:
    monkeypatch.setitem(base._registered, "ruler", Ruler())
    monkeypatch.setitem(operations._registered, "analyze-ruler", Measure())


@pytest.fixture
def batch(keep: Callable[..., MediaFile]) -> Callable[[], Batch]:
    def start() -> Batch:
        return lifecycle.start(
            "analyze-ruler",
            Selection(MediaFile.objects.all()),
            parameters_of(),
            executor=Batch.Executor.LOCAL,
        )

    return start


def test_it_runs_and_is_priced_like_the_others(
    keep: Callable[..., MediaFile], batch: Callable[[], Batch]
) -> None:
    keep()
    started = batch()
    perform(Claim(started, lambda: False))
    row = Analysis.objects.get()
    assert (row.provider, row.model, row.cost) == ("ruler", "wood", Decimal("0.5"))
    assert row.result["labels"][0]["name"] == "996 px"


@pytest.mark.parametrize(
    ("size", "rows"), [((200, 300), ["broken_off"] * 3), ((100, 300), [])], ids=["during a call", "before"]
)
def test_an_unexpected_exception_counts_against_its_file_and_is_logged(
    keep: Callable[..., MediaFile],
    batch: Callable[[], Batch],
    size: tuple[int, int],
    rows: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = keep(jpeg(*size))
    started = batch()
    for attempt in (1, 2, 3):
        started.items.update(available_at=started.created_at)
        perform(Claim(started, lambda: False))
        assert "The ruler broke" in caplog.text
        caplog.clear()
        item = started.items.get()
        assert item.attempts == attempt or item.outcome == "quarantined"
    assert started.items.get().outcome == "quarantined"
    assert [row.error for row in Analysis.objects.filter(file=file)] == rows
