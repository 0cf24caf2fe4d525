"""External proxies: made by another program and stored here, for example those of videos."""

from __future__ import annotations

from io import BytesIO
from pathlib import PurePath
from typing import Any, BinaryIO, Literal, cast

from django.core.files.base import File
from django.db import transaction

from media_files.conf import limits
from media_files.errors import EmptyFile, SourceMissing, StorageError, UnsupportedFormat
from media_files.facts import measure
from media_files.imaging.inspection import ImageFacts, inspect
from media_files.models import MediaFile
from media_files.names import safe_stem
from proxies import writing
from proxies.conf import conf
from proxies.models import DiscardedProxy, Proxy, proxies_storage
from proxies.names import EXTENSIONS, FOLDERS, build_image_proxy_filename
from proxies.processes import leases
from proxies.rendering.profiles import ProxyProfile
from proxies.rendering.render import Reason, proxy_reasons


def create_proxy_file(
    source: MediaFile,
    content: bytes | BinaryIO | File[Any],
    *,
    file_type: Literal["video", "image"] = "video",
    extension: str = "mp4",
    width: int | None = None,
    height: int | None = None,
) -> Proxy:
    """Store ``content`` as an external proxy of ``source`` and record it, replacing an older one.

    A video proxy is stored under ``proxy_video/`` with ``extension``; pass width and height in pixels if
    known. An image proxy is measured, and belongs to the profile ``nova``.

    Raises:
        EmptyFile: there are no bytes.
        UnsupportedFormat: an image that would itself need a proxy, or that is neither JPEG nor PNG.
        MediaError: the image cannot be accepted, or the storage does not respond.
    """
    stream = cast(BinaryIO, BytesIO(content) if isinstance(content, bytes) else content)
    stream.seek(0)
    sha256, size = measure(stream)
    stream.seek(0)
    if size == 0:
        raise EmptyFile("The proxy given holds no bytes. Give the file's content, read from its beginning.")
    values: dict[str, Any] = {"file_type": file_type, "bytes": size, "sha256": sha256}
    if file_type == "image":
        profile = conf().nova
        facts = inspect(stream, limits())
        _refuse_unfit(facts, profile)
        name = build_image_proxy_filename(
            source.original_name or source.file.name or "",
            source.pk,
            format=facts.format,
            suffix=profile.suffix,
        )
        values |= {"width": facts.width, "height": facts.height, "format": facts.format}
        values |= {"recipe": profile.recipe, "provenance": {"given": True}}
        profile_name, content_type = profile.name, f"image/{facts.format.lower()}"
    else:
        name = f"{safe_stem(source.original_name)}_{source.pk}_proxy.{safe_stem(extension.lstrip('.'))}"
        values |= {"width": width, "height": height, "format": PurePath(name).suffix[1:].upper()}
        profile_name, content_type = "video", f"video/{PurePath(name).suffix[1:].lower()}"
    values["source_fingerprint"] = source.fingerprint
    return _replace(
        source, profile_name, f"{FOLDERS[file_type]}/{name}", stream, content_type=content_type, values=values
    )


def _refuse_unfit(facts: ImageFacts, profile: ProxyProfile) -> None:
    """Refuse an image that must not be sent to a model as it is. Its size is the caller's choice."""
    faults = [reason for reason in proxy_reasons(facts, profile) if reason != Reason.SHORTER_SIDE]
    if facts.format not in EXTENSIONS or faults:
        found = ", ".join([facts.format, *faults])
        raise UnsupportedFormat(
            f"The image given cannot be sent to a model as it is ({found}). Give an upright JPEG or PNG "
            "in 8-bit sRGB or greyscale, without metadata."
        )


def _replace(
    source: MediaFile,
    profile: str,
    name: str,
    stream: BinaryIO,
    *,
    content_type: str,
    values: dict[str, Any],
) -> Proxy:
    token = leases.acquire(source.pk, profile, stem=name.rpartition(".")[0])
    if token is None:
        raise StorageError(f"Another process is writing a proxy of file {source.pk}. Ask again shortly.")
    note: DiscardedProxy | None = None
    try:
        note = writing.announce(source.pk, profile, name, before=writing.find_proxy(source.pk, profile))
        stored = proxies_storage().put(name, stream, content_type=content_type)
        values |= {"etag": stored.etag, "version": stored.version}
        with transaction.atomic():
            if not leases.release(source.pk, profile, token):
                raise StorageError(f"Storing the proxy of file {source.pk} took too long. Try again.")
            if not MediaFile.objects.select_for_update().filter(pk=source.pk).exists():
                raise SourceMissing(f"File {source.pk} was deleted while its proxy was being stored.")
            proxy, _ = writing.record(note, source, values)
    except BaseException:
        writing.abandon(source.pk, profile, token, note)
        raise
    return proxy
