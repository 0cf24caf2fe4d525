"""Errors of the REST API: one shape, one wording, and what to do."""

from __future__ import annotations

import base64

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile

from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.api_client import Api
from novaproxy_site.tests.api_fixtures import START
from proxies.models import Batch

pytestmark = pytest.mark.django_db

SMALL = jpeg(300, 200)

# -- 404 ---------------------------------------------------------------------------------------

NOT_THERE = {
    "no such file": ("GET", "/api/files/999999"),
    "no such file's bytes": ("GET", "/api/files/999999/content"),
    "no number": ("GET", "/api/files/abc"),
    "a file to be deleted": ("DELETE", "/api/files/999999"),
    "a proxy of no file": ("POST", "/api/files/999999/create-image-proxy"),
    "an analysis of no file": ("POST", "/api/files/999999/analyze"),
    "no such proxy": ("GET", "/api/proxies/999999"),
    "no such batch": ("GET", "/api/batch/999999"),
    "a batch of another operation": ("GET", "/api/batch/batch-analyze-999999/status"),
    "no batch's name": ("POST", "/api/batch/nonsense/pause"),
    "no such address": ("GET", "/api/nothing"),
    "an address that is deeper": ("PUT", "/api/files/1/2/3/"),
}


@pytest.mark.parametrize("case", NOT_THERE)
def test_every_404_has_the_same_wording(case):
    method, path = NOT_THERE[case]
    user = get_user_model().objects.create_superuser("root")
    client = Api()
    client.force_authenticate(user)
    response = client.generic(method, path, "", "application/json")
    assert response.status_code == 404
    assert response.json() == {
        "detail": f"There is nothing at {path}. Check the address and the id in it; "
        "GET /api names the lists of what there is."
    }


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_an_unknown_address_is_401_without_a_login(method):
    assert Api().generic(method, "/api/nothing").status_code == 401


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/api/files", "multipart/form-data."),
        (START, "application/json, application/x-www-form-urlencoded."),
    ],
)
def test_an_unsupported_content_type_lists_the_supported_ones(api, path, read):
    response = api.send_as("image/jpeg", path, SMALL)
    assert response.status_code == 415
    assert response.json() == {"detail": f'Unsupported media type "image/jpeg" in request. Send {read}'}


# -- Pages -------------------------------------------------------------------------------------

LISTS = ["files", "proxies", "batch", "batch/{}/items", "files/{}/analyses"]


@pytest.fixture
def lists(batch, library):
    return {
        place: f"/api/{place}".format(library["created"] if "files" in place else batch.pk) for place in LISTS
    }


@pytest.mark.parametrize("size", ["0", "-1", "1001", "99999999999999999999", "1.5", "many", "", "%00"])
@pytest.mark.parametrize("place", LISTS)
def test_a_page_size_out_of_range_is_400_with_the_range(api, lists, place, size):
    response = api.get(f"{lists[place]}?page_size={size}")
    assert response.status_code == 400
    assert response.json() == {"page_size": ["Give a whole number from 1 to 1,000."]}


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("place", LISTS)
def test_the_limits_of_the_page_size_are_accepted(api, lists, place, size):
    assert api.get(f"{lists[place]}?page_size={size}").status_code == 200


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    ["xxx", "%FF", encoded("p=abc"), encoded("p=" + "9" * 40), encoded("o=x"), encoded("p=1;drop")],
)
@pytest.mark.parametrize("place", LISTS)
def test_an_invalid_cursor_is_400(api, lists, place, cursor):
    response = api.get(f"{lists[place]}?cursor={cursor}")
    assert response.status_code == 400
    (reported,) = response.json()["cursor"]
    assert "`next`" in reported


# -- Fields ------------------------------------------------------------------------------------


def test_an_unknown_part_of_an_upload_is_named(api):
    body = {"file": SimpleUploadedFile("a.jpg", SMALL), "titel": "Coast"}
    response = api.post("/api/files", body, format="multipart")
    assert response.status_code == 400
    assert response.json() == {"titel": ["Unknown key. Known are: file."]}
    assert not MediaFile.objects.exists()


def test_a_misnamed_part_reports_the_missing_one_too(api):
    response = api.post("/api/files", {"photo": SimpleUploadedFile("a.jpg", SMALL)}, format="multipart")
    assert response.status_code == 400
    assert response.json()["photo"] == ["Unknown key. Known are: file."]
    assert "file" in response.json()


def test_two_files_in_one_upload_are_rejected_and_none_is_stored(api):
    body = {"file": [SimpleUploadedFile("a.jpg", SMALL), SimpleUploadedFile("b.jpg", jpeg(200, 300))]}
    response = api.post("/api/files", body, format="multipart")
    assert response.status_code == 400
    assert response.json() == {"file": ["2 files came in one upload. Send each file in a separate request."]}
    assert not MediaFile.objects.exists()


def test_an_upload_may_contain_a_csrf_token(api):
    body = {"file": SimpleUploadedFile("a.jpg", SMALL), "csrfmiddlewaretoken": "x" * 64}
    assert api.post("/api/files", body, format="multipart").status_code == 201


BATCHES = {
    "an unknown key": ({"filter": {}, "forse": True}, {"forse": "Unknown key. Known are: file_ids, filter,"}),
    "a misspelt key": ({"file_id": [1]}, {"file_id": "Unknown key. Known are: file_ids, filter,"}),
    "a letter for an id": (
        {"file_ids": ["a"]},
        {"file_ids": "Expected file ids, whole numbers from 1, as [1, 2, 3]; got 'a'."},
    ),
    "several that are none": (
        {"file_ids": [1, 0, None, "b", [1]]},
        {"file_ids": "Expected file ids, whole numbers from 1, as [1, 2, 3]; got 0, None, 'b' and 1 more."},
    ),
    "a thousand letters for an id": ({"file_ids": ["a" * 1000]}, {"file_ids": "Expected file ids"}),
    "an unknown filter": ({"filter": {"nane": "x"}}, {"filter": "nane: Unknown parameter. Known are: "}),
    "a filter's bad value": ({"filter": {"type": "audio"}}, {"filter": "type: "}),
    "a bad truth": ({"filter": {}, "force": "perhaps"}, {"force": "Must be a valid boolean."}),
}


@pytest.mark.parametrize("case", BATCHES)
def test_errors_of_batch_fields_are_sentences(api, library, case):
    body, expected = BATCHES[case]
    response = api.send(START, body)
    assert response.status_code == 400
    reported = response.json()
    assert set(reported) == set(expected)
    for field, sentence in expected.items():
        (said,) = reported[field]
        assert said.startswith(sentence)
        assert len(said) < 300


# -- Query parameters where none are accepted ---------------------------------------------------

WISHES = {
    "a batch": ("POST", START, "dry_run"),
    "a proxy": ("POST", "/api/files/{pk}/create-image-proxy", "force"),
    "an analysis": ("POST", "/api/files/{pk}/analyze", "provider"),
    "an upload": ("POST", "/api/files", "uploader"),
    "a file to be deleted": ("DELETE", "/api/files/{pk}", "dry_run"),
    "a file": ("GET", "/api/files/{pk}", "fields"),
    "a file's bytes": ("GET", "/api/files/{pk}/content", "size"),
    "a list without filters": ("GET", "/api/files/{pk}/analyses", "provider"),
}


@pytest.mark.parametrize("case", WISHES)
def test_a_query_parameter_where_none_is_accepted_is_rejected_without_effect(case):
    user = get_user_model().objects.create_superuser("root")
    client = Api()
    client.force_authenticate(user)
    row = MediaFile.objects.get(pk=client.upload(SMALL).json()["id"])
    method, path, key = WISHES[case]
    response = client.generic(method, f"{path.format(pk=row.pk)}?{key}=true", "{}", "application/json")
    assert response.status_code == 400
    (message,) = response.json()[key]
    assert message.startswith("Unknown parameter.")
    assert message.endswith("Say it in the body.") == (method == "POST")
    assert MediaFile.objects.filter(pk=row.pk).exists()
    assert not Batch.objects.filter(standing=None).exists()
    assert not row.proxies.exists()


def test_an_unsupported_method_is_405_even_with_parameters(api):
    assert api.generic("PUT", "/api/files?dry_run=true", "{}", "application/json").status_code == 405


# -- Missing bodies -----------------------------------------------------------------------------


def test_an_upload_without_a_body_is_400_with_the_missing_field(api):
    response = api.generic("POST", "/api/files")
    assert (response.status_code, response.json()) == (400, {"file": ["No file was submitted."]})


@pytest.mark.parametrize("path", ["/api/files", START])
def test_a_chunked_body_is_411_and_not_treated_as_empty(api, path):
    response = api.generic("POST", path, HTTP_TRANSFER_ENCODING="chunked")
    assert response.status_code == 411
    assert "Content-Length" in response.json()["detail"]
    assert not Batch.objects.exists()


def test_a_lone_surrogate_in_a_filter_is_400(api):
    response = api.send_as("application/json", START, '{"filter": {"name": "\\ud800"}}')
    assert (response.status_code, list(response.json())) == (400, ["filter"])
    assert not Batch.objects.exists()
