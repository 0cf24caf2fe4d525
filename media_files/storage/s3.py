"""Store files in an S3 bucket or any S3-compatible server, with one request per read or write.

This module loads boto3, so it is imported only when a storage uses `media_files.storage.s3.BucketStorage`.
"""

from __future__ import annotations

import logging
import os
import posixpath
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from storages.backends.s3 import S3Storage

from media_files.errors import (
    BucketMissing,
    FileTooLarge,
    MediaError,
    SourceMissing,
    StorageError,
    StorageRefused,
)
from media_files.shortage import error_class
from media_files.storage.base import (
    CHUNK_BYTES,
    OCTETS,
    Found,
    MediaStorage,
    SourceChanged,
    Stored,
    byte_chunks,
    is_amazon_endpoint,
)
from media_files.storage.s3_bodies import PLAIN_BODIES, endpoint_setting, is_encrypted, is_md5, md5_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

logger = logging.getLogger(__name__)

# A single PUT can upload at most 5 GB. Source: Amazon S3 user guide, "Uploading objects".
LARGEST_PUT: Final = 5 * 1024**3
# A key has at most 1,024 bytes of UTF-8. Source: Amazon S3 user guide, "Naming objects".
LONGEST_KEY: Final = 1024
# Larger bodies are held in a temporary file instead of in memory.
SPOOL_BYTES: Final = 8 * 1024**2

# In seconds. botocore's default is 60 for both, which would block a worker and its lease for too long.
CONNECT_TIMEOUT: Final = 5
READ_TIMEOUT: Final = 30
ATTEMPTS: Final = 4
# Connections to the bucket that urllib3 keeps open: one for each thread that reads or writes.
CONNECTIONS: Final = 16

MISSING: Final = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound", "405", "MethodNotAllowed"})
PRECONDITION_FAILED: Final = frozenset({"412", "PreconditionFailed"})
REFUSED: Final = frozenset(
    {
        "403",
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)


class BucketStorage(MediaStorage, S3Storage):  # type: ignore[misc]
    """The S3 storage of django-storages, with atomic writes and one request per read or write.

    Differences from the parent class, and why:

    * A read is one ``get_object`` (parent: HEAD, HEAD, GET), a write one ``put_object`` (parent: multipart
      above 8 MB, whose parts remain in the bucket if the writer dies).
    * ``save`` never overwrites unless ``file_overwrite`` is set, even if two writers choose the same name.
    * After each write, the stored object is compared with what was sent: by its ETag, or by its size if the
      ETag is not an MD5. The first write of a process over https checks both, because some servers return the
      ETag of the body but store it with its transfer encoding.
    * The client is created once per process, on first use: a client created before a fork would share its
      connections with the child.
    * Keys are not normalized, so that an object registered in place as ``a//b.jpg`` is found.

    OPTIONS are those of django-storages; the usual ones are ``bucket_name``, ``location`` (a prefix),
    ``region_name``, ``endpoint_url``, ``access_key`` and ``secret_key``.
    """

    location: str

    def get_default_settings(self) -> dict[str, Any]:
        """Return the defaults of django-storages (its AWS_... settings), with some replaced by ours."""
        defaults: dict[str, Any] = super().get_default_settings()
        return defaults | {
            "file_overwrite": False,
            "max_memory_size": SPOOL_BYTES,
            "signature_version": defaults["signature_version"] or "s3v4",
        }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.location = self.location.strip("/")
        if options.get("client_config") is None:
            self.client_config = self._make_client_config()
        self._guard = threading.Lock()
        self._resource: Any = None
        self._resource_pid = 0
        self._is_faithful = False

    def _make_client_config(self) -> Config:
        # Servers other than Amazon's are rarely reachable at <bucket>.<host>.
        addressing_style = self.addressing_style or ("path" if self.endpoint_url else "auto")
        return Config(
            signature_version=self.signature_version,
            proxies=self.proxies,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            s3={"addressing_style": cast("Any", addressing_style)},
        )

    def put(self, name: str, content: bytes | BinaryIO, *, content_type: str = OCTETS) -> Stored:
        """Store `content` with one ``put_object``. Raises FileTooLarge above 5 GB, the S3 limit for a PUT."""
        return self._put(name, content, {"ContentType": content_type})

    def fetch(self, name: str, *, etag: str = "", version: str = "") -> BinaryIO:
        """Read the object with one ``get_object`` into memory, or into a temporary file above 8 MB."""
        condition = {"IfMatch": f'"{etag}"'} if etag else {}
        if version:
            condition["VersionId"] = version
        with self._failures("read", name):
            answer = self.client.get_object(Bucket=self.bucket_name, Key=self._key(name), **condition)  # type: ignore[arg-type]
            # Not "with answer['Body']": that yields the raw stream, which checks neither length nor checksum.
            with closing(answer["Body"]) as body:
                return self._spooled(iter(lambda: body.read(CHUNK_BYTES), b""))

    def stat(self, name: str) -> Stored:
        """Look up the object with one ``head_object``."""
        with self._failures("look up", name):
            answer = self.client.head_object(Bucket=self.bucket_name, Key=self._key(name))
        return Stored(
            name=name,
            bytes=answer["ContentLength"],
            etag=answer["ETag"].strip('"'),
            version=answer.get("VersionId", ""),
        )

    def walk(self, prefix: str) -> Iterator[Found]:
        """List the objects with one ``list_objects_v2`` per 1,000."""
        root = self._key("x")[:-1]
        with self._failures("list", prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket_name, Prefix=self._key(prefix).rstrip("/") + "/"
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    name = entry["Key"].removeprefix(root)
                    yield Found(name, entry["Size"], entry["LastModified"].timestamp())

    def temporaries(self, older_than: timedelta) -> Iterator[Found]:
        """List nothing: an aborted put leaves nothing in a bucket."""
        return iter(())

    def sweep_temporaries(self, older_than: timedelta) -> int:
        """Return 0: an aborted put leaves nothing in a bucket."""
        return 0

    def exists(self, name: str) -> bool:
        """Return whether an object has that name (one HEAD)."""
        try:
            self.stat(name)
        except SourceMissing:
            return False
        return True

    def size(self, name: str) -> int:
        """Return the object's size in bytes (one HEAD)."""
        return self.stat(name).bytes

    def delete(self, name: str) -> None:
        """Delete the object. A missing object is not an error."""
        with self._failures("delete", name):
            self.client.delete_object(Bucket=self.bucket_name, Key=self._key(name))

    @property
    def connection(self) -> Any:
        """The boto3 resource of this process.

        The parent class creates one per thread, at 0.1 s and about 10 MB each. The methods here and the
        inherited ones (``url``, ``listdir``) only use its client, which threads may share.
        """
        if self._resource_pid != os.getpid():
            # A lock that another thread held during the fork would stay locked in the child.
            self._guard, self._resource, self._resource_pid = threading.Lock(), None, os.getpid()
            self._is_faithful = False
        with self._guard:
            if self._resource is None:
                self._resource = self._connect()
            return self._resource

    def _connect(self) -> Any:
        is_amazon = is_amazon_endpoint(self.endpoint_url)
        resource = self._make_resource(plain_bodies=not is_amazon)
        # The environment and the AWS configuration file may also set an endpoint.
        if is_amazon and not is_amazon_endpoint(resource.meta.client.meta.endpoint_url):
            return self._make_resource(plain_bodies=True)
        return resource

    def _make_resource(self, *, plain_bodies: bool) -> Any:
        return self._create_session().resource(
            "s3",
            region_name=self.region_name,
            use_ssl=self.use_ssl,
            endpoint_url=self.endpoint_url,
            config=self.client_config.merge(PLAIN_BODIES) if plain_bodies else self.client_config,
            verify=self.verify,
        )

    @property
    def is_amazon(self) -> bool:
        """Whether requests go to Amazon, according to the settings and the environment."""
        return is_amazon_endpoint(self.client.meta.endpoint_url)

    @property
    def client(self) -> S3Client:
        """The S3 client of this process; threads may share it."""
        try:
            return cast("S3Client", self.connection.meta.client)
        except (BotoCoreError, ValueError) as error:
            raise StorageError(
                f"No S3 client for the bucket {self.bucket_name!r} could be made: {error}. "
                "Check the storage's region and endpoint."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return state | {"_guard": None, "_resource": None, "_resource_pid": 0, "_is_faithful": False}

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        if mode != "rb":
            raise ValueError(f"A bucket's file is opened with 'rb', not {mode!r}: use put() or save().")
        return File(self.fetch(name), name)

    def _save(self, name: str, content: File[Any]) -> str:
        """Write to `name`, or to another free name if another writer takes it first."""
        parameters = self._get_write_parameters(name, content)
        if self.file_overwrite:
            return self._put(name, content, parameters).name
        while True:
            try:
                return self._put(name, content, parameters | {"IfNoneMatch": "*"}).name
            except SourceChanged:
                name = self.get_available_name(name)

    def _put(self, name: str, content: bytes | BinaryIO | File[Any], parameters: dict[str, Any]) -> Stored:
        with self._failures("write", name), self._measured(content) as (body, size):
            if size > LARGEST_PUT:
                raise FileTooLarge(
                    f"{name!r} has {size:,} bytes; a bucket takes {LARGEST_PUT:,} in one request. "
                    "Put it into the bucket by another tool and register it in place."
                )
            md5 = md5_of(body)
            answer = self.client.put_object(
                Bucket=self.bucket_name, Key=self._key(name), Body=body, **parameters
            )
            stored = Stored(
                name=name, bytes=size, etag=answer["ETag"].strip('"'), version=answer.get("VersionId", "")
            )
            self._compare(stored, md5, has_md5=is_md5(stored.etag) and not is_encrypted(answer))
        return stored

    def _compare(self, stored: Stored, md5: str, *, has_md5: bool) -> None:
        """Check that the server stored what was sent, without reading it back.

        Raises:
            StorageError: it did not. The object has been deleted again.
        """
        if has_md5 and stored.etag != md5:
            raise self._unfaithful(stored, f"with the ETag {stored.etag}, where their MD5 is {md5}")
        # Amazon has verified the checksum that was sent with the body.
        if self.is_amazon or (has_md5 and (self._is_faithful or not self._is_encoded)):
            return
        found = self.client.head_object(Bucket=self.bucket_name, Key=self._key(stored.name))["ContentLength"]
        if found != stored.bytes:
            raise self._unfaithful(stored, f"as {found:,} bytes")
        self._is_faithful = True

    def _unfaithful(self, stored: Stored, how: str) -> StorageError:
        """Delete an object that differs from what was sent, and return the error for it."""
        endpoint = self.client.meta.endpoint_url
        try:
            self.client.delete_object(Bucket=self.bucket_name, Key=self._key(stored.name))
        except (BotoCoreError, ClientError) as error:
            logger.warning("Could not delete the damaged object %r in %s: %s", stored.name, self.label, error)
        return StorageError(
            f"{endpoint} stored the {stored.bytes:,} bytes of {stored.name!r} in {self.label} {how}. "
            f"Correct {self.setting}, or update that server: it must store a body as it is sent."
        )

    @property
    def _is_encoded(self) -> bool:
        """Whether a body may be sent with a transfer encoding, which clients use only over https."""
        return self.client.meta.endpoint_url.startswith("https:")

    @contextmanager
    def _measured(self, content: bytes | BinaryIO | File[Any]) -> Iterator[tuple[bytes | BinaryIO, int]]:
        """Yield `content` in a form that botocore accepts (bytes or a seekable stream), and its size.

        The caller's stream is read but not closed.
        """
        if isinstance(content, bytes):
            yield content, len(content)
            return
        if content.seekable():
            content.seek(0, os.SEEK_END)
            size = content.tell()
            content.seek(0)
            yield cast("BinaryIO", content), size
            return
        with self._spooled(byte_chunks(content)) as body:
            size = body.seek(0, os.SEEK_END)
            body.seek(0)
            yield body, size

    def _spooled(self, chunks: Iterator[bytes]) -> BinaryIO:
        """Return `chunks` as a rewound stream that uses at most max_memory_size of memory."""
        spool = tempfile.SpooledTemporaryFile(max_size=self.max_memory_size)  # noqa: SIM115
        try:
            for chunk in chunks:
                spool.write(chunk)
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return cast("BinaryIO", spool)

    def _key(self, name: str) -> str:
        """Return the object's key. Raises SuspiciousFileOperation if it cannot be one of ours."""
        key = posixpath.join(self.location, name.lstrip("/")) if self.location else name
        # A server, or a proxy in front of it, may resolve '..' like a file system and leave the prefix.
        if not name or ".." in name.split("/"):
            raise SuspiciousFileOperation(f"{name!r} cannot be the name of a file in {self.label}.")
        try:
            length = len(key.encode())
        except UnicodeEncodeError as error:
            raise SuspiciousFileOperation(f"{name!r} has characters that no key may have.") from error
        if length > LONGEST_KEY:
            raise SuspiciousFileOperation(
                f"The key of {name!r} has {length} bytes; S3 allows {LONGEST_KEY}. Use a shorter name."
            )
        return key

    @property
    def setting(self) -> str:
        """The setting that defines the endpoint."""
        return endpoint_setting(self.bucket_name, self.location)

    @property
    def label(self) -> str:
        """The bucket and the prefix, for messages."""
        prefix = f" under {self.location!r}" if self.location else ""
        return f"the bucket {self.bucket_name!r}{prefix}"

    @contextmanager
    def _failures(self, operation: str, name: str) -> Iterator[None]:
        """Map errors of S3, the network or the disk to named errors."""
        what = f"{operation} {name!r} in {self.label}"
        try:
            yield
        except ClientError as error:
            raise self._answered(what, error) from error
        except BotoCoreError as error:
            raise StorageError(
                f"Could not {what}: {error}. Check the endpoint, the network and the credentials; "
                "the call is worth a retry."
            ) from error
        except OSError as error:
            raise error_class(error.errno)(
                f"Could not {what}: {error.strerror or error}. See that {tempfile.gettempdir()} can be "
                "written to and has space left (TMPDIR names another folder)."
            ) from error

    def _answered(self, what: str, error: ClientError) -> MediaError:
        """Return the named error for an error response of the server."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        message = error.response.get("Error", {}).get("Message", "") or code
        if code in MISSING:
            return SourceMissing(f"Could not {what}: no such object. Put it back, or delete its row.")
        if code in PRECONDITION_FAILED:
            return SourceChanged(
                f"Could not {what}: another object has that name now. Register the file again."
            )
        advice = "The call is worth a retry."
        kind = StorageError
        if code in REFUSED:
            kind = StorageRefused
            advice = (
                "Check the clock, the credentials, and that they allow s3:GetObject, s3:PutObject, "
                "s3:DeleteObject and s3:ListBucket (without the last, a missing object is refused, too)."
            )
        elif code == "NoSuchBucket":
            kind = BucketMissing
            advice = "Create the bucket, or correct the storage's bucket name."
        elif code == "InvalidObjectState":
            advice = "The object is archived: restore it to a class that can be read at once."
        return kind(f"Could not {what}: {code}: {message}. {advice}")
