"""docs/python.md: a picture is rendered in a process that cannot import Django."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT

# What the rendering must do without; None in sys.modules makes an import fail.
BLOCKED = ("django", "boto3", "botocore", "django_q", "rest_framework")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
ONE_FILE, FUNCTION, *_ = EXAMPLES


def run(source: str, folder: Path) -> bytes:
    """Run Python `source` without Django in a folder, and return what it writes."""
    result = subprocess.run(
        [sys.executable, "-c", BLOCK + source],
        cwd=folder,
        env=clean_environment({"PATH": "/usr/bin:/bin"}) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with photo.jpg: 1800 x 1200 px, stored on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((1200, 1800)).save(tmp_path / "photo.jpg", exif=exif.tobytes())
    return tmp_path


def test_django_is_blocked(tmp_path: Path) -> None:
    assert run("try: import django\nexcept ImportError: print('blocked')", tmp_path) == b"blocked\n"


@pytest.mark.parametrize(
    "lines",
    [
        ONE_FILE + "data = proxy.data",
        ONE_FILE + FUNCTION + "data = make_proxy(open('photo.jpg', 'rb').read())",
    ],
    ids=["a file", "bytes"],
)
def test_the_lines_of_the_documentation_render_a_proxy(folder: Path, lines: str) -> None:
    data = run(f"{lines}\nimport sys\nsys.stdout.buffer.write(data)", folder)
    with Image.open(io.BytesIO(data)) as proxy:
        assert (proxy.format, proxy.size) == ("JPEG", (1344, 896))
        assert not proxy.getexif()


def test_a_damaged_file_raises_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    source = f"""
from media_files.errors import MediaError
try:
    exec({ONE_FILE!r})
except MediaError as error:
    print(error.code)
"""
    assert run(source, tmp_path) == b"corrupt\n"
