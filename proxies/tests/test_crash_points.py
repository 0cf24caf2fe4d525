"""Whatever moment a worker is killed at, one sweep and the next worker put all in order."""

from __future__ import annotations

import json

import pytest

from novaproxy_site.tests.installation import Installation


@pytest.mark.every_backend
@pytest.mark.parametrize("life", ["upload", "replacement", "forced"])
def test_every_crash_point_of_an_items_life(installation: Installation, life: str) -> None:
    printed = installation.shell(f"""
        import json
        from proxies.tests import crashing
        crashes = crashing.crash_everywhere(crashing.{life})
        print(json.dumps([[crash.point, crash.where, crash.problems] for crash in crashes]))
    """)
    crashes = json.loads(printed.splitlines()[-1])
    assert [crash for crash in crashes if crash[2]] == []
    places = {where for _, where, _ in crashes}
    assert {"before put", "after put", "after os.replace", "before commit", "after commit"} <= places
    assert len(crashes) > 30
