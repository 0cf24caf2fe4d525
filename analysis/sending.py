"""What is sent of a file, and how: its current proxy, or the original where none is needed.

Nothing that is sent carries a place: a file that tells one needs a proxy by the rules of every profile, and
proxies keep nothing of their original's metadata.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from analysis import copies
from analysis.conf import conf
from analysis.errors import NoBucket, WrongRegion
from analysis.providers import aws
from analysis.providers.base import Image, Place
from media_files.inspection import CONTENT_TYPES
from media_files.models import MediaFile
from media_files.storage import MediaStorage, SourceChanged, media_storage
from proxies.models import Proxy, proxies_storage
from proxies.services import ImageProxyService


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where an object lies.

    Attributes:
        bucket: its bucket.
        key: its whole key.
    """

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Picture:
    """The file that stands for an original: its proxy, or itself.

    Attributes:
        source: the original's row.
        proxy: the proxy's row; None where the original itself is sent.
        image: what the service is told of it.
        sha256: of its bytes.
        storage: where it lies.
        name: its name there.
        etag: of an original that is not ours and may change under its name; empty for any.
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
    """How a picture comes to the service.

    Attributes:
        place: the object to be read; None where the bytes are embedded.
        is_copy: whether that object is our copy of a local file.
        is_missing: whether the copy is still to be put there.
    """

    place: Place | None
    is_copy: bool = False
    is_missing: bool = False


# -- For callers who send by themselves ------------------------------------------------------------


def get_image_s3_key_for_analysis(media_file: MediaFile, profile: str = "nova") -> str:
    """The S3 key of what is to be analysed; see `get_image_s3_location_for_analysis`."""
    return get_image_s3_location_for_analysis(media_file, profile).key


def get_image_s3_location_for_analysis(media_file: MediaFile, profile: str = "nova") -> S3Location:
    """Bucket and key of the current proxy, which is made first where one is needed; else of the original.

    What does not lie in S3 yet is copied to the analysis bucket, once: its key there follows from its bytes.

    Raises:
        NoBucket: the file lies in a folder, and there is no analysis bucket.
        WrongRegion: the bucket is in another region than the services.
        MediaError: the proxy cannot be made, or a storage does not answer.
    """
    picture = choose_picture(media_file, profile)
    delivery = plan_delivery(picture, embed=False)
    if delivery.is_missing:
        announce_copy(picture, delivery)
        put_copy(picture)
        remember_copy(picture, delivery)
    place = delivery.place
    if place is None:
        raise NoBucket(_no_bucket(picture))
    return S3Location(place.bucket, place.key)


# -- The steps -------------------------------------------------------------------------------------


def choose_picture(source: MediaFile | int, profile: str) -> Picture:
    """The current proxy, made first if it is missing; else, where none is needed, the original.

    Raises:
        MediaError: the file cannot be read, or its storage does not answer.
    """
    made = ImageProxyService(profile=profile).create_proxy(source)
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
    """How to bring the picture to a service; asks no server. ``embed`` allows its bytes in the request.

    Raises:
        WrongRegion: its bucket is in another region than the services.
        NoBucket: there is no bucket, and its bytes may not be embedded.
    """
    if embed and conf().send == "bytes":
        return Delivery(None)
    bucket = _bucket(picture.storage)
    if bucket is not None:
        _check_region(bucket)
        return Delivery(Place(bucket.bucket_name, posixpath.join(bucket.location, picture.name)))
    if not conf().bucket:
        if embed:
            return Delivery(None)
        raise NoBucket(_no_bucket(picture))
    place = copies.place_of(_copy_name(picture))
    return Delivery(place, is_copy=True, is_missing=not copies.is_there(place))


def announce_copy(picture: Picture, delivery: Delivery) -> None:
    """A copy that is missing is about to be put."""
    if delivery.place is not None and delivery.is_missing:
        copies.announce(delivery.place, picture.sha256)


def put_copy(picture: Picture) -> None:
    """Copy a local file to the analysis bucket: one request. Touches no database.

    Raises:
        SourceMissing, StorageError: as the storages say.
    """
    content_type = CONTENT_TYPES.get(picture.image.format, "")
    copies.put(_copy_name(picture), read(picture), content_type)


def remember_copy(picture: Picture, delivery: Delivery) -> None:
    """The copy is there: nothing is put there again."""
    if delivery.place is not None:
        copies.confirm(delivery.place, picture.sha256)


def forget_copy(delivery: Delivery) -> None:
    """The copy has gone, as by a rule of the bucket: the next try puts it there again."""
    if delivery.place is not None:
        copies.forget(delivery.place)


def check_unchanged(picture: Picture) -> None:
    """An object that is not ours may be replaced under its name, by one that tells its place for instance,
    and a service reads what lies there. One request for such an original; none for what is ours.

    Raises:
        SourceMissing, StorageError: as the storage says.
        SourceChanged: it is another object than the one that was read.
    """
    if picture.etag and picture.storage.stat(picture.name).etag != picture.etag:
        raise SourceChanged(
            f"{picture.name!r} is another object than the one that was registered. Register it again."
        )


def read(picture: Picture) -> bytes:
    """The bytes to embed: one read of the storage. Touches no database.

    Raises:
        SourceMissing, StorageError: as the storage says.
        SourceChanged: they are not the bytes that the row speaks of.
    """
    with picture.storage.fetch(picture.name, etag=picture.etag) as stream:
        content = stream.read()
    if len(content) != picture.image.bytes:
        raise SourceChanged(
            f"{picture.name!r} has {len(content):,} bytes where {picture.image.bytes:,} are recorded. "
            "Make its proxy again (force), or restore the file."
        )
    return content


def _copy_name(picture: Picture) -> str:
    return copies.name_of(picture.sha256, picture.image.format)


def _bucket(storage: MediaStorage) -> Any:
    """The storage as one of a bucket; None for a folder. Told by what it has, for the class loads boto3."""
    return storage if hasattr(storage, "bucket_name") else None


def _check_region(bucket: Any) -> None:
    """Services read only from buckets of their own region. A bucket that names none is in the chain's."""
    services, of_bucket = aws.region(), bucket.region_name
    if of_bucket and services and of_bucket != services:
        raise WrongRegion(
            f"The bucket {bucket.bucket_name!r} is in {of_bucket} and the services are asked in {services}: "
            "they read only from their own region. Set NOVAPROXY_ANALYSIS_REGION to the bucket's region, or "
            "NOVAPROXY_ANALYSIS_SEND=bytes to embed the pictures."
        )


def _no_bucket(picture: Picture) -> str:
    return (
        f"{picture.name!r} lies in a folder, and there is no bucket to copy it to. Set "
        "NOVAPROXY_ANALYSIS_BUCKET (and NOVAPROXY_ANALYSIS_REGION), or NOVAPROXY_PROXIES_BUCKET to keep "
        "proxies in S3."
    )
