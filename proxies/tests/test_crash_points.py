"""Kill a worker at any moment: one sweep and the next worker repair everything."""

from __future__ import annotations

import json

import pytest

from novaproxy_site.tests.installation import Installation


@pytest.mark.every_backend
@pytest.mark.parametrize("life", ["upload", "replacement", "forced"])
def test_every_crash_point_of_an_item(installation: Installation, life: str) -> None:
    printed = installation.shell(f"""
        import json
        from proxies.tests import crashing
        crashes = crashing.crash_everywhere(crashing.{life})
        print(json.dumps([(c.point, c.where, c.temporaries, c.problems) for c in crashes]))
    """)
    crashes = json.loads(printed.splitlines()[-1])
    assert [crash for crash in crashes if crash[3]] == []
    places = {where for _, where, _, _ in crashes}
    assert {
        *("before put", "after put", "before os.fsync", "after os.replace"),
        *("before commit", "after commit"),
        *("before render", "before decode", "after decode", "before decode's end", "after render"),
    } <= places
    assert any(temporaries for _, _, temporaries, _ in crashes), "none was killed in the middle of a write"
    assert len(crashes) > 30
