"""A command's worker processes: a non-UTF-8 locale, and workers that die as soon as they start."""

from __future__ import annotations

import json
import re

import pytest

NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

FILL = """
    from django.core.files.base import ContentFile
    from django.test import override_settings
    from media_files.models import MediaFile
    from proxies.tests.crashing import scan
    with override_settings(NOVAPROXY_ON_SAVE="off"):
        for seed, name in enumerate(["\\u5199\\u771f.tif", "M\\u00fcller.tif", "plain.tif"]):
            MediaFile.objects.create(file=ContentFile(scan(seed), name))
"""

DIES_AT_ONCE = """
    import os, sys
    from django.core.management import call_command
    os.register_at_fork(after_in_child=lambda: {death})
    try:
        call_command("create_image_proxies", "--no-dry-run", "--workers=2")
    except SystemExit as end:
        print("exit", end.code)
    from proxies.models import Batch
    batch = Batch.objects.get()
    print(batch.state, batch.paused_code, batch.paused_reason)
"""


def test_a_locale_without_utf8_finds_every_name(installation):
    installation.shell(FILL)
    ended = installation.manage(
        "create_image_proxies", "--no-dry-run", "--json", environment=NOT_UTF8, check=False
    )
    assert ended.returncode == 0, ended.stderr
    *lines, last = map(json.loads, ended.stdout.splitlines())
    assert [line["outcome"] for line in lines] == ["created"] * 3
    assert lines[0]["original_name"] == "写真.tif"
    assert ended.stdout.isascii(), "the output must use the terminal's encoding"
    assert last["totals"]["created"] == 3


@pytest.mark.parametrize(
    ("death", "reason"),
    [("os._exit(3)", "exit status 3"), ("os.kill(os.getpid(), 9)", "signal 9")],
    ids=["exit", "kill"],
)
def test_workers_that_die_at_once_end_the_command_with_the_reason(installation, death, reason):
    installation.shell(FILL)
    printed = installation.shell(DIES_AT_ONCE.format(death=death))
    assert "exit 130" in printed
    why = rf"paused unexpected Its workers ended \d times in a row without finishing a file \({reason}\)"
    assert re.search(why, printed), printed
