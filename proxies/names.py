"""The names of proxies in their storage: deterministic, so that making one again replaces it."""

from __future__ import annotations

from typing import Final

from media_files.names import safe_stem

EXTENSIONS: Final = {"JPEG": "jpg", "PNG": "png"}
FOLDERS: Final = {"image": "proxy_image", "video": "proxy_video"}


def build_image_proxy_filename(
    source_filename: str,
    source_file_id: int,
    *,
    format: str = "JPEG",
    suffix: str = "nova",
) -> str:
    """Return ``{original_stem}_{source_file_id}_{suffix}.{ext}``, without a folder.

    The stem is sanitized and shortened; the extension follows ``format``, Pillow's name of the format
    that is actually written.
    """
    return f"{safe_stem(source_filename)}_{source_file_id}_{suffix}.{EXTENSIONS[format]}"
