"""The admin in a real browser, with the site and its worker in separate processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from conftest import Installer
from media_files.tests import pictures
from novaproxy_site.tests.installation import Installation, wait_for
from novaproxy_site.tests.servers import answers, free_ports

pytestmark = pytest.mark.browser

PATIENCE = 30_000  # ms; the machine may be busy with other tests
expect.set_options(timeout=PATIENCE)
# A strict policy that a site may set: no inline scripts and no other hosts.
STRICT = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; object-src 'none'"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
# Pictures and fields without a name for screen readers.
UNNAMED = """() => [
    ...document.querySelectorAll("img:not([alt])"),
    ...[...document.querySelectorAll("#content input:not([type=hidden], [type=submit], [aria-label])")]
        .filter(field => !field.labels.length),
].map(element => element.outerHTML)"""
FILES = "/admin/media_files/mediafile/"
OPERATION = f"{FILES}operation/image-proxy/"


@dataclass(frozen=True, slots=True)
class Site:
    """A running site and a superuser's session cookie."""

    installation: Installation
    url: str
    session: str

    def shell(self, source: str) -> str:
        return self.installation.shell(source).strip()

    def make_batch(self) -> int:
        """Start a batch over the six photographs; it stays queued unless a worker runs."""
        return int(
            self.shell("""
                from media_files.models import MediaFile
                from proxies.batches import lifecycle
                from proxies.batches.selection import Selection
                files = MediaFile.objects.filter(original_name__startswith="IMG_")
                print(lifecycle.start("image-proxy", Selection(files), {"force": True}).pk)
            """)
        )


@pytest.fixture(scope="module")
def site(chromium: Path, installer: Installer) -> Iterator[Site]:
    """Run a site with six photographs and no worker."""
    installation = installer.make("sqlite")
    try:
        (port,) = free_ports(1)
        log = (installation.folder / "web.log").open("w")
        installation.popen("runserver", "--noreload", f"127.0.0.1:{port}", output=log)
        session = installation.shell("""
            import io
            from django.contrib.auth import get_user_model
            from django.test import Client
            from media_files.services import add_file
            from media_files.tests.pictures import jpeg
            user = get_user_model().objects.create_superuser("admin", "", "of no use")
            for seed in range(6):
                add_file(io.BytesIO(jpeg(seed=seed)), f"IMG_{seed}.jpg", uploader=user)
            client = Client()
            client.force_login(user)
            print(client.cookies["sessionid"].value)
        """)
        wait_for(lambda: answers(port, b"GET /healthz HTTP/1.0\r\n\r\n", b"200"), what="the site")
        yield Site(installation, f"http://127.0.0.1:{port}", session.strip())
        log.close()
    finally:
        installation.close()


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield browser
        browser.close()


def open_page(browser: Browser, site: Site, **options: Any) -> Page:
    """Open a page as a logged-in user under the strict policy; a script error fails the test."""
    context = browser.new_context(base_url=site.url, **options)
    context.add_cookies([{"name": "sessionid", "value": site.session, "url": site.url}])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: pytest.fail(str(error)))

    def under_policy(route: Route) -> None:
        if route.request.resource_type != "document":
            route.continue_()
            return
        response = route.fetch(max_redirects=0)  # let the browser follow redirects itself
        route.fulfill(response=response, headers=response.headers | {"content-security-policy": STRICT})

    page.route(re.compile(r"^http://[^/]+/admin/"), under_policy)
    return page


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    page = open_page(browser, site)
    yield page
    page.context.close()


def violations(page: Page) -> list[str]:
    """Collect the errors that the browser's console reports from now on."""
    found: list[str] = []
    page.on(
        "console",
        lambda message: (
            found.append(message.text)
            if message.type == "error" and "favicon" not in message.location["url"]
            else None
        ),
    )
    return found


# -- Every page ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_every_page_fits_its_screen_under_a_strict_policy(
    browser: Browser, site: Site, width: int, scheme: str
) -> None:
    batch = site.make_batch()
    page = open_page(browser, site, viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints = violations(page)
    for path in (
        "/admin/",
        FILES,
        f"{FILES}add/",
        f"{FILES}1/change/",
        f"{OPERATION}?filter=",
        "/admin/proxies/batch/",
        f"/admin/proxies/batch/{batch}/change/",
        f"/admin/proxies/batchitem/?batch__id__exact={batch}",
        "/admin/proxies/proxy/",
        "/admin/proxies/quarantine/",
        "/admin/proxies/workerstate/",
    ):
        response = page.goto(path)
        assert response is not None
        assert response.status == 200, path
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"{path} is too wide"
        )
        unnamed = page.evaluate(UNNAMED)
        assert unnamed == [], f"{path} has elements without a name for screen readers"
    assert complaints == []
    page.context.close()


# -- A batch's page --------------------------------------------------------------------------------


def test_a_batch_page_updates_without_reloading(site: Site, page: Page) -> None:
    batch = site.make_batch()
    page.goto(f"/admin/proxies/batch/{batch}/change/")
    page.evaluate("window.loadedOnce = true")
    live, status = page.locator("#np-live"), page.get_by_role("status")
    expect(live).to_contain_text("0 of 6 files done")
    expect(live).to_contain_text("No worker is running")
    page.get_by_text("Pause…").click()
    page.get_by_label("Reason (optional)").first.fill("The disk is being moved")

    site.shell(f"""
        from django.utils.timezone import now
        from proxies.models import BatchItem
        items = BatchItem.objects.filter(batch={batch}).order_by("id")
        done = {{"state": "done", "finished_at": now()}}
        for item in items[:2]:
            BatchItem.objects.filter(pk=item.pk).update(outcome="replaced", **done)
        last = items.last()
        failed = {{"outcome": "failed", "error": "corrupt", "message": "It ends early."}}
        BatchItem.objects.filter(pk=last.pk).update(**failed, **done)
    """)
    expect(live).to_contain_text("3 of 6 files done, 1 failed")
    expect(live).to_contain_text("It ends early. (corrupt)")
    expect(status).to_have_text("running, 50 percent done")

    site.shell(f"""
        from django.utils.timezone import now
        from proxies.batches import lifecycle
        from proxies.models import Batch, BatchItem
        waiting = BatchItem.objects.filter(batch={batch}, state="queued")
        waiting.update(state="done", outcome="replaced", finished_at=now())
        lifecycle.finish_if_done(Batch.objects.get(pk={batch}))
    """)
    expect(live).to_contain_text("completed")
    expect(live).to_contain_text("6 of 6 files done, 1 failed")
    expect(page.locator("#np-buttons")).not_to_contain_text("Pause")
    expect(page.get_by_role("button", name="Retry failed")).to_be_visible()
    assert page.evaluate("window.loadedOnce"), "the page was reloaded"


def test_a_half_typed_reason_survives_updates(site: Site, page: Page) -> None:
    batch = site.make_batch()
    page.goto(f"/admin/proxies/batch/{batch}/change/")
    page.get_by_text("Pause…").click()
    why = page.get_by_label("Reason (optional)").first
    why.fill("The disk is be")
    with page.expect_response(re.compile("/progress/")):
        site.shell(f"""
            from proxies.models import Batch, BatchItem
            first = BatchItem.objects.filter(batch={batch}).first()
            BatchItem.objects.filter(pk=first.pk).update(state="done", outcome="replaced")
        """)
    expect(page.locator("#np-live")).to_contain_text("1 of 6 files done")
    why.press_sequentially("ing moved")
    expect(why).to_have_value("The disk is being moved")
    page.get_by_role("button", name="Pause this batch").click()
    expect(page.locator("#np-live")).to_contain_text("paused by admin: The disk is being moved")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#np-live")).to_contain_text("running")


def test_an_unresponsive_server_causes_a_warning_and_is_polled_again(site: Site, page: Page) -> None:
    batch = site.make_batch()
    page.goto(f"/admin/proxies/batch/{batch}/change/")
    warning = page.get_by_text("The server is not responding")
    expect(warning).to_be_hidden()
    page.route(re.compile("/progress/"), lambda route: route.abort())
    expect(warning).to_be_visible()
    page.unroute(re.compile("/progress/"))
    expect(warning).to_be_hidden()


# -- End to end ------------------------------------------------------------------------------------


def test_select_all_preview_force_and_start(site: Site, page: Page) -> None:
    page.goto(f"{FILES}?q=IMG")
    page.get_by_label("Select all objects on this page for an action").check()
    page.get_by_label("Action:").select_option("Image Proxies (Nova)")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading", name="Image Proxies (Nova)")).to_be_visible()
    assert "force" not in page.url
    page.get_by_label("Force").check()
    page.wait_for_url(re.compile("force=on"))  # ticking the box is enough for a new plan
    expect(page.get_by_label("Force")).to_be_checked()
    page.get_by_role("button", name=re.compile("^Start: 6 files")).click()
    page.wait_for_url(re.compile(r"/batch/\d+/change/"))
    expect(page.locator("#content")).to_contain_text("Image Proxies (Nova), force")
    started = page.url.split("/")[-3]
    assert (
        site.shell(f"""
        from proxies.models import Batch
        batch = Batch.objects.get(pk={started})
        print(batch.created_by, batch.parameters, batch.items.count())
    """)
        == "admin {'force': True, 'profile': 'nova'} 6"
    )


def test_an_option_chosen_before_the_script_loads_takes_effect(site: Site, page: Page) -> None:
    held: list[Route] = []
    script = re.compile(r"operation[^/]*\.js")
    page.route(script, lambda route: held.append(route), times=1)  # noqa: PLW0108 (a built-in does not work)
    page.goto(f"{OPERATION}?filter=q%3DIMG", wait_until="commit")
    page.get_by_label("Force").check()
    assert "force" not in page.url
    held[0].continue_()
    page.wait_for_url(re.compile("force=on"))
    expect(page.get_by_label("Force")).to_be_checked()
    expect(page.get_by_role("button", name=re.compile("^Start"))).to_be_enabled()


def test_going_back_restores_the_options_of_the_preview(site: Site, page: Page) -> None:
    page.goto(f"{OPERATION}?filter=q%3DIMG")
    page.get_by_label("Force").check()
    page.wait_for_url(re.compile("force=on"))
    page.go_back()
    page.wait_for_url(lambda url: "force" not in url)
    expect(page.get_by_label("Force")).not_to_be_checked()
    expect(page.get_by_role("heading", name="Preview")).to_be_visible()
    assert "force" not in page.url


def test_an_outdated_preview_cannot_be_started(site: Site, page: Page) -> None:
    page.goto(f"{OPERATION}?filter=q%3DIMG&force=on")
    start = page.get_by_role("button", name=re.compile("^Start"))
    expect(start).to_be_enabled()
    # Hold the new plan back.
    page.locator("#np-options-form").evaluate("it => it.addEventListener('submit', e => e.preventDefault())")
    page.get_by_label("Force").uncheck()
    expect(start).to_be_disabled()


def test_an_upload_shows_its_proxy_once_the_worker_has_made_it(
    site: Site, page: Page, tmp_path: Path
) -> None:
    photograph = tmp_path / "Köln.jpg"
    photograph.write_bytes(pictures.jpeg(1200, 900, seed=99))
    page.unroute_all()  # a routed request loses the files in it
    page.goto(f"{FILES}add/")
    page.get_by_label("Photograph or video").set_input_files(photograph)
    page.get_by_role("button", name="Save", exact=True).click()
    row = page.locator("#result_list tbody tr", has_text="Köln.jpg")
    expect(row).to_contain_text("queued")
    site.shell(
        'from proxies.models import Batch; Batch.objects.filter(standing=None).update(state="cancelled")'
    )
    with (site.installation.folder / "worker.log").open("w") as log:
        worker = site.installation.popen("worker", "--workers", "1", output=log)
        page.goto("/admin/proxies/batch/1/change/")
        expect(page.locator("#np-live")).to_contain_text("none waiting", timeout=3 * PATIENCE)
        worker.terminate()
        worker.wait()
    page.goto(f"{FILES}?proxy_state=current")
    image = page.get_by_alt_text("Preview of Köln.jpg")
    expect(image).to_have_js_property("naturalWidth", 256)
    box = image.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (72, 72)


def test_buttons_update_if_the_batch_ends_before_the_first_poll(site: Site, page: Page) -> None:
    batch = site.make_batch()
    page.clock.install()
    page.goto(f"/admin/proxies/batch/{batch}/change/")
    expect(page.locator("#np-buttons")).to_contain_text("Pause")
    site.shell(f"""
        from django.utils.timezone import now
        from proxies.models import Batch
        batch = Batch.objects.get(pk={batch})
        batch.items.update(state="done", outcome="created", finished_at=now())
        Batch.objects.filter(pk={batch}).update(state="completed", finished_at=now(), counted_at=None)
    """)
    page.clock.run_for(2500)
    expect(page.locator("#np-live")).to_contain_text("completed")
    expect(page.locator("#np-buttons")).not_to_contain_text("Pause")


# -- Widths ----------------------------------------------------------------------------------------

LISTS = {
    "files": FILES,
    "proxies": "/admin/proxies/proxy/",
    "batches": "/admin/proxies/batch/",
    "files of a batch": "/admin/proxies/batchitem/",
    "workers": "/admin/proxies/workerstate/",
}
# By how many px the table is wider than its box, which would cut off the rest.
CUT = """() => [...document.querySelectorAll(".results")].map(box => box.scrollWidth - box.clientWidth)"""


@pytest.fixture
def crowded(site: Site) -> Iterator[Site]:
    """Add the widest possible rows: long names without spaces, long words, large numbers."""
    made = site.shell("""
        import io
        from django.contrib.auth import get_user_model
        from django.utils.timezone import now
        from media_files.models import MediaFile
        from media_files.services import add_file
        from media_files.tests.pictures import jpeg
        from proxies.batches import lifecycle
        from proxies.batches.selection import Selection
        from proxies.processes import shared_settings
        from proxies.models import WorkerState
        from proxies.services import ImageProxyService
        row, _ = add_file(io.BytesIO(jpeg(seed=99)), "wallpapers_Patak_contents_images_dark_3840x2160.jpg")
        ImageProxyService().create_proxy(row)
        MediaFile.objects.filter(pk=row.pk).update(width=12840, height=12160, bytes=123_456_789)
        user = get_user_model().objects.get()
        some = Selection(MediaFile.objects.filter(pk=row.pk))
        batch = lifecycle.start("image-proxy", some, {"force": True}, by=user)
        batch.items.update(state="done", outcome="quarantined", finished_at=now(), attempts=3,
                           error="quarantined", message="It ended its process three times.")
        type(batch).objects.filter(pk=batch.pk).update(state="completed", finished_at=now(), counted_at=None)
        WorkerState.objects.create(host="a-host-of-some-length", pid=123456, processes=16, started_at=now(),
                                   beat_at=now(), last_task_at=now(), state="running", restarts=12,
                                   recipes=shared_settings.recipes(), settings=shared_settings.digests())
        print(row.pk, batch.pk)
    """).split()
    yield site
    site.shell(f"""
        from media_files.models import MediaFile
        from proxies.models import Batch, WorkerState
        WorkerState.objects.all().delete()
        Batch.objects.filter(pk={made[1]}).delete()
        MediaFile.objects.get(pk={made[0]}).delete()
    """)


@pytest.mark.parametrize("width", [1200, 1280, 390])
@pytest.mark.parametrize("name", LISTS)
def test_no_list_column_is_cut_off(browser: Browser, crowded: Site, name: str, width: int) -> None:
    page = open_page(browser, crowded, viewport={"width": width, "height": 900})
    page.goto(LISTS[name])
    expect(page.locator("#result_list tbody tr").first).to_be_visible()
    assert page.evaluate(CUT) == [0]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
