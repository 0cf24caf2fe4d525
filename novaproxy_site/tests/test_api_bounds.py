"""Texts, numbers and counts of a request are bounded: refused early, by name and with the limit."""

from __future__ import annotations

import pytest
from django.urls import reverse

from media_files.tests.pictures import jpeg

pytestmark = pytest.mark.django_db

TEXTS = ["name", "format", "label", "q"]


@pytest.mark.parametrize("key", TEXTS)
def test_a_long_text_is_refused_with_the_limit(api, key):
    answer = api.get("/api/files", {key: "a" * 201})
    assert answer.status_code == 400
    assert answer.json() == {key: ["It has 201 characters; 200 are allowed. Give a shorter text."]}
    assert api.get("/api/files", {key: "a" * 200}).status_code == 200


@pytest.mark.parametrize("key", TEXTS)
def test_many_words_are_refused_with_the_limit(api, key):
    answer = api.get("/api/files", {key: "word " * 21})
    assert answer.status_code == 400
    assert answer.json() == {key: ["It has 21 words; 20 are allowed. Give fewer."]}


def test_the_filter_of_a_batch_has_the_same_limits(api):
    answer = api.post(
        "/api/batch/image-proxy", {"filter": {"q": "word " * 9000}, "dry_run": True}, format="json"
    )
    assert answer.status_code == 400
    assert "characters; 200 are allowed" in str(answer.json())


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_filter_is_not_everything(api, add, off, value):
    add(jpeg(30, 20))
    answer = api.post("/api/batch/image-proxy", {"filter": {"name": value}, "dry_run": True}, format="json")
    assert answer.status_code == 400
    assert "is empty" in str(answer.json())


@pytest.mark.parametrize("key", [*TEXTS, "type", "updated_since", "proxy_state"])
def test_an_empty_parameter_of_a_list_is_refused(api, key):
    answer = api.get("/api/files", {key: ""})
    assert answer.status_code == 400
    assert list(answer.json()) == [key]


@pytest.mark.parametrize("value", ["-9223372036854775809", "0", "1.5", str(2**63), "1e3", "a", "NaN"])
def test_a_number_is_bounded_both_ways(api, value):
    answer = api.get("/api/proxies", {"source": value})
    assert answer.status_code == 400
    assert list(answer.json()) == ["source"]


def test_unknown_keys_are_counted_and_the_first_five_named(api):
    body = {f"key{number:06}": 1 for number in range(20_000)}
    answer = api.post("/api/batch/image-proxy", body, format="json")
    assert answer.status_code == 400
    assert len(answer.content) < 2000
    assert list(answer.json())[:5] == [f"key{number:06}" for number in range(5)]
    assert "19,995 more" in str(answer.json())


def test_unknown_filters_are_counted_and_the_first_five_named(api):
    body = {"filter": {f"key{number:06}": 1 for number in range(20_000)}, "dry_run": True}
    answer = api.post("/api/batch/image-proxy", body, format="json")
    assert answer.status_code == 400
    assert len(answer.content) < 3000
    assert "19,995 more" in str(answer.json())


@pytest.mark.parametrize("ids", [list(range(1, 150_002)), [{}] * 150_001], ids=["numbers", "nonsense"])
def test_too_many_ids_are_refused_by_their_number(api, ids):
    answer = api.post("/api/batch/image-proxy", {"file_ids": ids, "dry_run": True}, format="json")
    assert answer.status_code == 400
    assert answer.json() == {"file_ids": ["Ensure this field has no more than 100000 elements."]}


@pytest.mark.parametrize("words", ["word " * 900, "a" * 201])
@pytest.mark.parametrize("model", ["media_files_mediafile", "analysis_analysis", "proxies_proxy"])
def test_a_long_search_in_the_admin_is_refused_with_the_limit(admin_client, model, words):
    page = admin_client.get(reverse(f"admin:{model}_changelist"), {"q": words}, follow=True)
    assert page.status_code == 200
    assert "are allowed" in page.content.decode()
