"""Choose what to send of a file, and how: its current proxy, or the original if none is needed.

Only bytes known to be free of metadata are sent: a proxy, or an original that was parsed to its last byte
and holds only pixels and colour data. Bytes read here are parsed again before they are sent.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from analysis import s3_copies
from analysis.conf import conf
from analysis.errors import NoBucket, ProxyDamaged, WrongRegion
from analysis.providers import aws
from analysis.providers.base import Image, S3Location
from media_files.conf import limits
from media_files.errors import Quarantined, SourceMissing
from media_files.imaging.inspection import CONTENT_TYPES, inspect
from media_files.models import MediaFile
from media_files.storage.base import MediaStorage, SourceChanged, check_content, media_storage
from proxies.models import Proxy, proxies_storage
from proxies.services import ImageProxyService


class NotHarmless(SourceChanged):
    """The file to send holds more than pixels and colour data, although its row says otherwise.

    The next attempt reads the original again and sends its proxy.
    """


@dataclass(frozen=True, slots=True)
class Picture:
    """The file to send for an original: its proxy, or the original itself.

    Attributes:
        source: the original's row.
        proxy: the proxy's row; None if the original itself is sent.
        image: its format and size.
        sha256: SHA-256 of its bytes.
        storage: the storage that holds it.
        name: its name in the storage.
        etag: expected ETag of an external original, which may be overwritten; empty to accept any.
    """

    source: MediaFile
    proxy: Proxy | None
    image: Image
    sha256: str
    storage: MediaStorage
    name: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a picture is sent to the service.

    Attributes:
        place: the S3 object for the service to read; None if the bytes are embedded.
        is_copy: whether that object is our copy of a local file.
        is_missing: whether the copy must be uploaded first.
    """

    place: S3Location | None
    is_copy: bool = False
    is_missing: bool = False


# -- For callers that send requests themselves -----------------------------------------------------


def get_image_s3_key_for_analysis(media_file: MediaFile, profile: str = "nova") -> str:
    """Return the S3 key of the image to analyse; see `get_image_s3_location_for_analysis`."""
    return get_image_s3_location_for_analysis(media_file, profile).key


def get_image_s3_location_for_analysis(media_file: MediaFile, profile: str = "nova") -> S3Location:
    """Return bucket and key of the up-to-date proxy, created first if needed, or else of the original.

    A file that is not in S3 is copied to the analysis bucket once; the key is derived from its bytes.

    Raises:
        NoBucket: the file is stored in a folder, and there is no analysis bucket.
        WrongRegion: the bucket and the services are in different regions.
        MediaError: the proxy cannot be created, or a storage does not answer.
    """
    picture = choose_picture(media_file, profile, checks_file=True)
    delivery = plan_delivery(picture, embed=False)
    if not delivery.is_copy and picture.proxy is None:
        check_stored(picture)
    if delivery.is_missing or not copy_is_intact(picture, delivery):
        announce_copy(picture, delivery)
        try:
            put_copy(picture)
        except NotHarmless:
            distrust(picture)
            raise
        remember_copy(picture, delivery)
    place = delivery.place
    if place is None:
        raise NoBucket(_no_bucket(picture))
    return place


# -- The steps -------------------------------------------------------------------------------------


def choose_picture(source: MediaFile | int, profile: str, *, checks_file: bool = False) -> Picture:
    """Return the up-to-date proxy, created first if missing, or the original if no proxy is needed.

    Without ``checks_file``, the proxy's file is not checked until it is sent.

    Raises:
        MediaError: the file cannot be read, or its storage does not answer.
    """
    service = ImageProxyService(profile=profile, checks_files=checks_file)
    try:
        made = service.create_proxy(source)
    except Quarantined:
        # No proxy is created, but an existing one, or the original if none is needed, can be sent.
        existing = service.look_up(source)
        if existing is None:
            raise
        made = existing
    file, proxy = made.source, made.proxy
    if proxy is not None:
        image = Image(proxy.format, proxy.width or 0, proxy.height or 0, proxy.bytes)
        return Picture(file, proxy, image, proxy.sha256, proxies_storage(), str(proxy.image.name))
    image = Image(file.format, file.width or 0, file.height or 0, file.bytes or 0)
    return Picture(
        source=file,
        proxy=None,
        image=image,
        sha256=file.sha256,
        storage=media_storage(file.storage_alias),
        name=str(file.file.name),
        etag="" if file.managed else file.etag,
    )


def plan_delivery(picture: Picture, *, embed: bool = True) -> Delivery:
    """Decide how to send the picture, without network requests. ``embed`` allows bytes in the request.

    Raises:
        WrongRegion: its bucket and the services are in different regions.
        NoBucket: there is no bucket, and its bytes may not be embedded.
    """
    if embed and conf().send == "bytes":
        return Delivery(None)
    bucket = _bucket(picture.storage)
    if bucket is not None:
        _check_region(bucket)
        return Delivery(S3Location(bucket.bucket_name, posixpath.join(bucket.location, picture.name)))
    if not s3_copies.can_be_read():
        if embed:
            return Delivery(None)
        raise NoBucket(_no_bucket(picture))
    place = s3_copies.place_of(_copy_name(picture))
    return Delivery(place, is_copy=True, is_missing=not s3_copies.is_there(place))


def announce_copy(picture: Picture, delivery: Delivery) -> None:
    """Record that a missing copy is about to be uploaded."""
    if delivery.place is not None and delivery.is_missing:
        s3_copies.announce(delivery.place, picture.sha256)


def put_copy(picture: Picture) -> None:
    """Copy a local file to the analysis bucket with one request. Does not use the database.

    Raises:
        SourceMissing, StorageError: from the storages.
    """
    content_type = CONTENT_TYPES.get(picture.image.format, "")
    s3_copies.put(_copy_name(picture), read(picture), content_type)


def remember_copy(picture: Picture, delivery: Delivery) -> None:
    """Record that the copy exists, so that it is not uploaded again."""
    if delivery.place is not None:
        s3_copies.confirm(delivery.place, picture.sha256)


def forget_copy(delivery: Delivery) -> None:
    """Record that the copy was deleted, such as by a lifecycle rule; the next attempt uploads it again."""
    if delivery.place is not None:
        s3_copies.forget(delivery.place)


def check_stored(picture: Picture) -> None:
    """Check with one request that the object a service will read is the recorded one.

    Does not use the database. An external original may have been overwritten, for example by a file with
    GPS data.

    Raises:
        ProxyDamaged: the proxy must be created again.
        SourceMissing, StorageError: from the storage.
        DamagedFile: the original is not the one that was stored.
        SourceChanged: the original is not the one that was registered in place.
    """
    if picture.etag:
        _check_registered(picture)
        return
    recorded = picture.proxy.etag if picture.proxy else picture.source.etag
    with _damage_of(picture):
        picture.storage.check_stored(
            picture.name, size=picture.image.bytes, sha256=picture.sha256, etag=recorded
        )


def copy_is_intact(picture: Picture, delivery: Delivery) -> bool:
    """Return whether our uploaded copy exists with its size, with one request; True if it is not a copy."""
    if not delivery.is_copy or delivery.place is None:
        return True
    try:
        return s3_copies.stat(delivery.place).bytes == picture.image.bytes
    except SourceMissing:
        return False


def read(picture: Picture) -> bytes:
    """Read the bytes to embed, and check that they match the record. Does not use the database.

    Raises:
        ProxyDamaged: the proxy must be created again.
        SourceMissing, StorageError: from the storage.
        DamagedFile: the original's bytes differ from the record.
        SourceChanged: the original is not the one that was registered in place.
        NotHarmless: the original holds more than pixels and colour data.
    """
    with _damage_of(picture), picture.storage.fetch(picture.name, etag=picture.etag) as stream:
        check_content(stream, picture.name, size=picture.image.bytes, sha256=picture.sha256)
        _check_harmless(picture, stream)
        stream.seek(0)
        return stream.read()


@contextmanager
def _damage_of(picture: Picture) -> Iterator[None]:
    """Convert errors for a missing or damaged file to `ProxyDamaged` if the file is a proxy."""
    try:
        yield
    except SourceMissing as error:
        if picture.proxy is None:
            raise
        raise ProxyDamaged(f"{error} The proxy is made again at the next try.") from error


def _check_registered(picture: Picture) -> None:
    if picture.storage.stat(picture.name).etag != picture.etag:
        raise SourceChanged(
            f"{picture.name!r} is another object than the one that was registered. Register it again."
        )


def distrust(picture: Picture) -> None:
    """Clear what the row of an original claims about metadata, so that the original is read again."""
    source = picture.source
    unchanged = MediaFile.objects.filter(pk=source.pk, fingerprint=source.fingerprint)
    unchanged.update(has_metadata=None)


def _check_harmless(picture: Picture, stream: BinaryIO) -> None:
    facts = inspect(stream, limits())
    if facts.has_metadata is False and facts.orientation == 1:
        return
    found = f"{picture.name!r} holds more than pixels and colours, so it was not sent."
    if picture.proxy is not None:
        raise ProxyDamaged(f"{found} The proxy is made again at the next try.")
    raise NotHarmless(f"{found} Analyze the file again: its proxy is made first.")


def _copy_name(picture: Picture) -> str:
    return s3_copies.name_of(picture.sha256, picture.image.format)


def _bucket(storage: MediaStorage) -> Any:
    """Return the storage if it is a bucket that Amazon's services can read, else None."""
    return storage if storage.is_amazon else None


def _check_region(bucket: Any) -> None:
    """Check that the bucket is in the services' region, the only one they read from.

    A bucket without a configured region is in that of the AWS configuration chain.
    """
    services, of_bucket = aws.region(), bucket.region_name
    if of_bucket and services and of_bucket != services:
        raise WrongRegion(
            f"The bucket {bucket.bucket_name!r} is in {of_bucket} and the services are asked in {services}: "
            "they read only from their own region. Set NOVAPROXY_ANALYSIS_REGION to the bucket's region, or "
            "NOVAPROXY_ANALYSIS_SEND=bytes to embed the pictures."
        )


def _no_bucket(picture: Picture) -> str:
    return (
        f"{picture.name!r} is not stored in Amazon S3, and there is no analysis bucket to copy it to. Set "
        "NOVAPROXY_ANALYSIS_BUCKET (and NOVAPROXY_ANALYSIS_REGION), or keep proxies in Amazon S3 with "
        "NOVAPROXY_PROXIES_BUCKET."
    )
