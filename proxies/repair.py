"""Render proxies again whose files are missing or damaged."""

from __future__ import annotations

from media_files.errors import SourceMissing
from proxies.conf import conf
from proxies.models import Proxy
from proxies.services import ImageProxyService
from proxies.stored_file import mark_damaged


def make_again(proxy: Proxy, error: SourceMissing) -> Proxy:
    """Make an image proxy again whose file is missing or damaged, as reported by ``error``.

    Raises:
        SourceMissing: ``error``, for an external proxy, which cannot be made here.
        MediaError: its original cannot be read.
    """
    mark_damaged(proxy, error)
    if proxy.file_type != Proxy.FileType.IMAGE or proxy.profile not in conf().profiles:
        raise error
    made = ImageProxyService(profile=proxy.profile).create_proxy(proxy.source_id).proxy
    if made is None:
        raise error
    return made
