"""The command parses stored raw answers again, at no cost."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command

from analysis import reread as module
from analysis.models import Analysis
from analysis.queries import matching_text as files_saying
from analysis.queries import with_label
from analysis.services import AnalysisService
from analysis.tests import model_answers
from analysis.tests.wire import Service
from media_files.console import UsageError
from media_files.models import MediaFile
from media_files.tests.pictures import jpeg

Keep = Callable[..., MediaFile]


def command(*arguments: str, code: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run the command; return its lines without the last, and the last one."""
    out = io.StringIO()
    try:
        call_command("analyze_images", "--reread", "--json", *arguments, stdout=out)
        ended = 0
    except SystemExit as stopped:
        ended = int(str(stopped.code))
    assert ended == code
    *lines, last = [json.loads(line) for line in out.getvalue().splitlines()]
    return lines, last


@pytest.fixture
def answers(nova: Service, keep: Keep) -> list[Analysis]:
    """Four answers: up to date, parsed by a worse parser, failed but readable now, and unreadable."""
    rows = [AnalysisService().analyze(keep(jpeg(100 + number, 90))).analyses[0] for number in range(4)]
    _, worse, failed, odd = rows
    old = {
        "version": 1,
        "caption": "A tower",
        "labels": [],
        "objects": [],
        "text": [],
        "safety": [],
        "answer": "",
    }
    Analysis.objects.filter(pk=worse.pk).update(result=old, search_text="A tower")
    worse.label_rows.all().delete()
    broken = {
        "status": "failed",
        "error": "malformed_output",
        "result": {},
        "search_text": "",
        "is_newest": False,
    }
    Analysis.objects.filter(pk__in=[failed.pk, odd.pk]).update(**broken)
    Analysis.objects.filter(pk=odd.pk).update(raw=model_answers.tool_answer({}))
    for row in (failed, odd):
        row.label_rows.all().delete()
    nova.paid.clear()
    nova.requests = 0
    return rows


def test_a_dry_run_previews_changes_and_writes_nothing(nova: Service, answers: list[Analysis]) -> None:
    before = list(Analysis.objects.order_by("pk").values())
    lines, last = command(code=1)
    assert [line["outcome"] for line in lines] == ["reused", "replaced", "created", "failed"]
    assert (last["dry_run"], last["batch"], last["totals"]["cost"]) == (True, None, "0.000000")
    assert list(Analysis.objects.order_by("pk").values()) == before
    assert nova.requests == 0


def test_results_labels_and_search_are_updated_without_a_call(nova: Service, answers: list[Analysis]) -> None:
    costs = list(Analysis.objects.order_by("pk").values_list("cost", flat=True))
    lines, _ = command("--no-dry-run", code=1)
    assert [line["outcome"] for line in lines] == ["reused", "replaced", "created", "failed"]
    assert {line["cost"] for line in lines} == {"0.000000"}
    assert lines[3]["error"] == "malformed_output"
    same, worse, failed, odd = Analysis.objects.order_by("pk")
    assert same.result == worse.result == failed.result
    assert (failed.status, failed.error, failed.message, failed.is_newest) == ("done", "", "", True)
    assert (odd.status, odd.error) == ("failed", "malformed_output")
    assert MediaFile.objects.filter(with_label("lighthouse")).count() == 3
    assert MediaFile.objects.filter(files_saying("rock")).count() == 3
    assert list(Analysis.objects.order_by("pk").values_list("cost", flat=True)) == costs
    assert nova.requests == 0
    _, again = command("--no-dry-run", code=1)
    assert (again["totals"]["reused"], again["totals"]["failed"]) == (3, 1)


def test_an_interrupted_run_is_completed_by_the_next(
    answers: list[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 1)
    run = module.reread("nova", apply=True)
    assert [next(run).outcome.value, next(run).outcome.value] == ["reused", "replaced"]
    lines, _ = command("--no-dry-run", code=1)
    assert [line["outcome"] for line in lines] == ["reused", "reused", "created", "failed"]


def test_a_limit_applies_to_changed_answers(answers: list[Analysis]) -> None:
    lines, _ = command("--no-dry-run", "--limit", "1")
    assert [line["outcome"] for line in lines] == ["reused", "replaced"]


def test_an_older_answer_that_can_be_parsed_now_remains_history(nova: Service, keep: Keep) -> None:
    file = keep()
    first = AnalysisService().analyze(file).analyses[0]
    second = AnalysisService(force=True).analyze(file).analyses[0]
    Analysis.objects.filter(pk=first.pk).update(status="failed", error="malformed_output", result={})
    command("--no-dry-run")
    rows = Analysis.objects.order_by("pk")
    assert [(row.pk, row.status, row.is_newest) for row in rows] == [
        (first.pk, "done", False), (second.pk, "done", True),
    ]  # fmt: skip
    assert [row.label_rows.count() for row in rows] == [0, 3]


def test_earlier_results_are_never_lost(answers: list[Analysis]) -> None:
    Analysis.objects.filter(pk=answers[0].pk).update(raw={"output": 7})
    lines, _ = command("--no-dry-run", code=1)
    assert lines[0]["outcome"] == "reused"
    assert Analysis.objects.get(pk=answers[0].pk).result["caption"] == "A lighthouse on a rock."


def test_an_unparsed_body_is_parsed_again(answers: list[Analysis]) -> None:
    body = json.dumps(model_answers.tool_answer(model_answers.LIGHTHOUSE))
    Analysis.objects.filter(pk=answers[3].pk).update(raw={"unparsed": body})
    lines, _ = command("--no-dry-run")
    assert lines[3]["outcome"] == "created"


def test_rekognition_answers_are_parsed_again(rekognition: Service, keep: Keep) -> None:
    AnalysisService("rekognition").analyze(keep())
    Analysis.objects.update(result={"version": 1, "labels": []})
    asked = rekognition.requests
    lines, _ = command("--provider", "rekognition", "--no-dry-run")
    assert [line["outcome"] for line in lines] == ["replaced", "replaced"]
    assert Analysis.objects.get(model="text").result["text"][0]["name"] == "KEEP OUT"
    assert rekognition.requests == asked


@pytest.mark.parametrize("option", [["--force"], ["--max-cost", "5"], ["--question", "Why?"], ["--queue"]])
def test_options_that_require_a_call_are_rejected(answers: list[Analysis], option: list[str]) -> None:
    with pytest.raises(UsageError, match="makes no call"):
        call_command("analyze_images", "--reread", *option)
