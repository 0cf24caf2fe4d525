"""The admin's links to the documentation."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from novaproxy_site.templatetags.documentation import PAGES
from novaproxy_site.tests.installation import ROOT

pytestmark = pytest.mark.django_db


def help_links(client: Client, url: str) -> list[str]:
    response = client.get(url)
    assert response.status_code == 200
    return re.findall(r'<a href="([^"]*)">Help</a>', response.content.decode())


@pytest.mark.parametrize(
    ("url", "page"),
    [
        (reverse("admin:index"), "index.html"),
        (reverse("admin:app_list", args=["analysis"]), "analysis.html"),
        (reverse("admin:media_files_mediafile_changelist"), "admin.html#files"),
        (reverse("admin:proxies_batch_changelist"), "admin.html#batches"),
        (reverse("admin:proxies_proxy_changelist"), "admin.html"),
        (reverse("admin:analysis_analysis_changelist"), "analysis.html"),
        (reverse("admin:auth_user_changelist"), "index.html"),
    ],
)
def test_help_links_to_the_matching_page(admin_client: Client, settings, url: str, page: str) -> None:
    settings.NOVAPROXY_DOCS_URL = "https://docs.example.org/novaproxy/"
    assert help_links(admin_client, url) == [f"https://docs.example.org/novaproxy/{page}"]


def test_there_is_no_help_without_a_documentation_site(admin_client: Client, settings) -> None:
    settings.NOVAPROXY_DOCS_URL = ""
    assert help_links(admin_client, reverse("admin:proxies_batch_changelist")) == []


def test_every_linked_heading_exists() -> None:
    for target in PAGES.values():
        page, _, anchor = target.partition("#")
        text = (ROOT / "docs" / f"{page}.md").read_text()
        anchors = {
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        assert not anchor or anchor in anchors, target
