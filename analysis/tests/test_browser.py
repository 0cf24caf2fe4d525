"""Upload a photo and analyse it in a real browser, up to the box drawn on it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from analysis.tests import model_answers
from analysis.tests.libraries import lead
from analysis.tests.wire import Asked, Bedrock, Service, served
from novaproxy_site.tests.installation import Installation, wait_for
from novaproxy_site.tests.servers import answers, free_ports
from proxies.tests.driving import RunningWorker

pytestmark = pytest.mark.browser

PATIENCE = 40_000  # ms; the machine may be busy with other tests
expect.set_options(timeout=PATIENCE)
_ORIENTATION = 0x0112
# Position and size of the red square in the upright picture of 1200 x 1600 px.
LEFT, TOP, SIDE = 700, 300, 240


def sideways_photograph() -> bytes:
    """Return a photo stored sideways with EXIF orientation 6, like those of a phone held upright."""
    upright = Image.new("RGB", (1200, 1600), (40, 90, 60))
    upright.paste((230, 20, 20), (LEFT, TOP, LEFT + SIDE, TOP + SIDE))
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    stream = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def red_square(content: bytes) -> tuple[float, float, float, float]:
    """Return the bounds of the red pixels as ratios: left, top, right, bottom."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    is_red = (pixels[..., 0] > 180) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
    rows, columns = np.nonzero(is_red)
    height, width = is_red.shape
    return (
        columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height,
    )  # fmt: skip


def look(asked: Asked) -> dict[str, Any]:
    """Answer like a real model: find the red square in the picture that was sent."""
    x1, y1, x2, y2 = (round(1000 * ratio) for ratio in red_square(asked.content))
    found = {"name": "Red square <b>", "confidence": 0.9, "box": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}
    return model_answers.tool_answer(
        {**model_answers.LIGHTHOUSE, "objects": [found], "caption": "<script>alert(1)</script>"}
    )


@pytest.fixture
def service() -> Iterator[Service]:
    with served(Bedrock("bedrock-runtime", look)) as service:
        yield service


@pytest.fixture
def site(install: Callable[..., Installation], service: Service) -> Iterator[tuple[str, str]]:
    """The URL of a running site with a worker, and a superuser's session key."""
    installation = install()
    lead(installation, service)
    (port,) = free_ports(1)
    log = (installation.folder / "web.log").open("w")
    installation.popen("runserver", "--noreload", f"127.0.0.1:{port}", output=log)
    session = installation.shell("""
        from django.contrib.auth import get_user_model
        from django.test import Client
        client = Client()
        client.force_login(get_user_model().objects.create_superuser("admin", "", "of no use"))
        print(client.cookies["sessionid"].value)
    """)
    worker = RunningWorker(installation, workers=1)
    wait_for(lambda: answers(port, b"GET /healthz HTTP/1.0\r\n\r\n", b"200"), what="the site")
    yield f"http://127.0.0.1:{port}", session.strip()
    worker.close()
    log.close()


@pytest.fixture
def page(chromium: Path, site: tuple[str, str]) -> Iterator[Page]:
    url, session = site
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 1400})
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        # Errors in our scripts, and dialogs opened by scripts in the model's answer.
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        yield page
        browser.close()
    assert wrong == []


def test_a_photo_is_uploaded_and_analysed_and_its_box_fits(
    page: Page, service: Service, tmp_path: Path
) -> None:
    photograph = tmp_path / "telephone.jpg"
    photograph.write_bytes(sideways_photograph())

    page.goto("/admin/media_files/mediafile/add/")
    page.set_input_files("input[type=file]", photograph)
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#result_list").get_by_role("link", name="telephone.jpg").click()
    page.wait_for_url(re.compile(r"/mediafile/\d+/change/"))
    # The worker creates the proxy meanwhile.
    expect_reloaded(page, "The proxy is up to date.")

    page.get_by_role("link", name="Analyze (Nova)").click()
    expect(page.get_by_text("230 tokens an image")).to_be_visible()
    page.get_by_role("button", name="Start: 1 file to do").click()
    expect(page.locator("#np-live")).to_contain_text("1 of 1 file done")
    (asked,) = service.paid
    assert asked.size == (896, 1195)

    page.goto("/admin/analysis/analysis/")
    page.get_by_role("link", name="telephone.jpg").click()
    expect(page.locator(".an-stage img")).to_be_visible()
    page.wait_for_function("document.querySelector('.an-stage img')?.naturalWidth > 0")
    # The caption is shown as text, not as markup.
    expect(page.get_by_text("<script>alert(1)</script>", exact=True)).to_be_visible()
    assert_box_lies_right(page)

    # The browser rotates the original, whose pixels are stored sideways: the box fits it, too.
    page.evaluate(
        "address => document.querySelector('.an-stage img').setAttribute('src', address)",
        "/api/files/1/content",
    )
    page.wait_for_function("document.querySelector('.an-stage img')?.naturalHeight === 1600")
    assert_box_lies_right(page)

    page.get_by_label("Objects (1)").uncheck()
    expect(page.locator(".an-layer-objects rect")).to_be_hidden()
    expect(page.locator(".an-layer-text rect")).to_be_visible()


def expect_reloaded(page: Page, text: str) -> None:
    """Reload a page without live updates until the text appears.

    The page must have finished loading: reloading during a navigation is a browser error.
    """

    def is_there() -> bool:
        page.reload()
        return page.get_by_text(text).count() > 0

    wait_for(is_there, seconds=40, what=text)


def assert_box_lies_right(page: Page) -> None:
    """Compare the drawn box with the pixels of the picture below it."""
    page.evaluate("document.querySelector('.an-boxes').style.visibility = 'hidden'")
    shown = red_square(page.locator(".an-stage img").screenshot())
    page.evaluate("document.querySelector('.an-boxes').style.visibility = 'visible'")
    stage = page.locator(".an-stage img").bounding_box()
    drawn = page.locator(".an-layer-objects rect").bounding_box()
    assert stage is not None
    assert drawn is not None
    box = (
        (drawn["x"] - stage["x"]) / stage["width"],
        (drawn["y"] - stage["y"]) / stage["height"],
        (drawn["x"] + drawn["width"] - stage["x"]) / stage["width"],
        (drawn["y"] + drawn["height"] - stage["y"]) / stage["height"],
    )
    assert box == pytest.approx(shown, abs=0.006)
    expected = (LEFT / 1200, TOP / 1600, (LEFT + SIDE) / 1200, (TOP + SIDE) / 1600)
    assert box == pytest.approx(expected, abs=0.006)
