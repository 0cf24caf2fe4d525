"""The service that makes, reuses, replaces and deletes image proxies; all callers use it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, Final, Literal

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Subquery
from django.utils.timezone import now
from PIL import Image

from media_files.conf import limits
from media_files.errors import CorruptImage, MediaError, NotAnImage, Quarantined, SourceMissing, StorageError
from media_files.facts import read_facts
from media_files.imaging.inspection import ImageFacts
from media_files.models import MediaFile
from media_files.storage.base import SourceChanged, check_content, fetch_whole, media_storage
from proxies import signals, writing
from proxies.conf import conf
from proxies.external import create_proxy_file
from proxies.models import Proxy, ProxyFailure, Thumbnail, proxies_storage
from proxies.names import EXTENSIONS, FOLDERS, build_image_proxy_filename
from proxies.outcomes import Outcome
from proxies.processes import leases
from proxies.queries import IMAGE_PROXY, is_decoded, quarantines
from proxies.render_job import LeaseLost, ProxyBusy, ProxyResult, RenderJob, is_kept, reasons_of
from proxies.rendering import render, thumbnail
from proxies.rendering.profiles import ProxyProfile
from proxies.rendering.render import Reason, Rendered
from proxies.stored_file import is_intact

logger = logging.getLogger(__name__)

# Errors that may go away although the bytes stay the same, or that are recorded elsewhere.
_NOT_OF_THE_BYTES: Final = (SourceMissing, NotAnImage, Quarantined)


class ImageProxyService:
    """Makes image proxies of one profile.

    `create_proxy` runs all steps. A batch runs them one by one, so that reading and storing overlap with
    rendering: `begin`, `fetch`, `render`, `announce`, `store`, `finish`, or `abandon`. `fetch` and `store` do
    not access the database and may run in a separate thread.
    """

    # How often a proxy is restarted because its original changed while it was being made.
    MAX_CHANGES: Final = 3
    # Seconds that a caller waits for another process that is making the same proxy.
    PATIENCE: Final = 20.0

    def __init__(
        self,
        target_dimension: int | None = None,
        jpeg_quality: int | None = None,
        *,
        profile: ProxyProfile | str = "nova",
        checks_files: bool = True,
    ) -> None:
        """Use the profile's sizes unless others are given: a shorter side in px, a JPEG quality of 1 to 95.

        Without ``checks_files`` an up-to-date proxy is reused by its row alone.
        """
        chosen = conf().profiles[profile] if isinstance(profile, str) else profile
        if target_dimension is not None:
            chosen = replace(chosen, shorter_side=target_dimension)
        if jpeg_quality is not None:
            chosen = replace(chosen, quality=jpeg_quality)
        self.profile = chosen
        self.checks_files = checks_files

    # -- The rules, for callers that check before they act ---------------------------------------

    def needs_proxy(self, width: int, height: int) -> bool:
        """Return whether the shorter side, in px, exceeds the target: the size part of `proxy_reasons`."""
        side = self.profile.shorter_side
        return side is not None and min(width, height) > side

    def calculate_target_dimensions(self, width: int, height: int) -> tuple[int, int]:
        """Return the proxy's width and height in px for an upright original of this width and height."""
        return render.calculate_target_dimensions(width, height, self.profile)

    def get_optimal_format(self, source: MediaFile | Image.Image | BinaryIO) -> Literal["JPEG", "PNG"]:
        """Return ``PNG`` if any pixel is actually transparent, else ``JPEG``; for a row, read its file."""
        if isinstance(source, MediaFile):
            with media_storage(source.storage_alias).fetch(str(source.file.name)) as stream:
                return self.get_optimal_format(stream)
        if isinstance(source, Image.Image):
            return render.get_optimal_format(source)
        with Image.open(source) as image:
            return render.get_optimal_format(image)

    # -- All steps at once -----------------------------------------------------------------------

    def create_proxy(self, source: MediaFile | int, *, force: bool = False) -> ProxyResult:
        """Make the proxy of ``source``, unless an up-to-date one exists or none is needed.

        Raises:
            MediaError: one of the named errors. An existing proxy is kept.
        """
        source_id = source if isinstance(source, int) else source.pk
        try:
            return self._create(source_id, force=force)
        except MediaError as error:
            self.note_failure(source_id, error)
            raise

    def look_up(self, source: MediaFile | int) -> ProxyResult | None:
        """Return an up-to-date proxy, or that none is needed, without making one; None in other cases."""
        row = MediaFile.objects.filter(pk=source if isinstance(source, int) else source.pk).first()
        if row is None:
            return None
        if row.facts is not None and not self._reasons(row):
            return ProxyResult(Outcome.SKIPPED, row)
        return self._reuse(row, writing.find_proxy(row.pk, self.profile.name))

    def note_failure(self, source_id: int, error: MediaError) -> None:
        """Record an error of the file itself, so that it is not retried unless requested; send the signal."""
        with transaction.atomic():
            # Locked, so that the file cannot be deleted before the row that refers to it is written.
            source = MediaFile.objects.select_for_update(no_key=True).filter(pk=source_id).first()
            if source is not None and not error.transient and not isinstance(error, _NOT_OF_THE_BYTES):
                ProxyFailure.objects.update_or_create(
                    source=source,
                    profile=self.profile.name,
                    defaults={
                        "fingerprint": source.fingerprint,
                        "recipe": self.profile.recipe,
                        "error": error.code,
                        "message": str(error),
                        "created_at": now(),
                    },
                )
        signals.proxy_failed.send_robust(type(self), source_id=source_id, error=error)

    def _create(self, source_id: int, *, force: bool) -> ProxyResult:
        for _ in range(self.MAX_CHANGES):
            making = self._begin_patiently(source_id, force=force)
            if isinstance(making, ProxyResult):
                return making
            try:
                with self.fetch(making) as stream:
                    rendered = self.render(making, stream)
                if rendered is not None:
                    self.announce(making, rendered)
                    self.store(making, rendered)
                return self.finish(making, rendered)
            except (SourceChanged, LeaseLost) as change:
                logger.info("File %s changed while its proxy was being made: %s", source_id, change)
                self.abandon(making)
            except BaseException:
                self.abandon(making)
                raise
        raise StorageError(
            f"File {source_id} changed {self.MAX_CHANGES} times while its proxy was being made. "
            "Ask again once it has settled."
        )

    def _begin_patiently(self, source_id: int, *, force: bool) -> ProxyResult | RenderJob:
        """Begin; if another process is making the same proxy, wait for it."""
        until = time.monotonic() + self.PATIENCE
        while True:
            try:
                return self.begin(source_id, force=force)
            except ProxyBusy:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    # -- The steps -------------------------------------------------------------------------------

    def begin(self, source_id: int, *, force: bool = False) -> ProxyResult | RenderJob:
        """Return the result if it follows from the file's row, else acquire the lease and return a job.

        Raises:
            SourceMissing: the row was deleted.
            NotAnImage: it is a video.
            Quarantined: it has ended its process too often.
            ProxyBusy: another process holds the lease.
        """
        failures = ProxyFailure.objects.filter(source=OuterRef("pk"), profile=self.profile.name)
        rows = MediaFile.objects.annotate(
            failed_before=Exists(failures),
            held=Subquery(quarantines(IMAGE_PROXY).values("message")),
            is_decoded=is_decoded(),
        )
        source: Any = rows.filter(pk=source_id).first()
        if source is None:
            raise SourceMissing(f"There is no file {source_id}. It may have been deleted.")
        settled = self._settle(source, force=force)
        if settled is not None:
            return settled
        token = leases.acquire(source_id, self.profile.name, stem=self._stem(source))
        if token is None:
            raise ProxyBusy(f"Another process is making the proxy of file {source_id}. Ask again shortly.")
        before = writing.find_proxy(source_id, self.profile.name)
        # The previous holder of the lease may have made it.
        try:
            may_reuse = not force and (source.facts is None or bool(self._reasons(source)))
            settled = self._reuse(source, before) if may_reuse else None
        except BaseException:
            leases.release(source_id, self.profile.name, token)
            raise
        if settled is not None:
            leases.release(source_id, self.profile.name, token)
            return settled
        return RenderJob(source, token, self._reasons(source), source.failed_before, before=before)

    def fetch(self, making: RenderJob) -> BinaryIO:
        """Read the original, once. Does not access the database.

        Raises:
            SourceMissing, StorageError, SourceChanged: raised by the storage.
            DamagedFile: its size differs from the one recorded in its row.
        """
        source = making.source
        # Managed files never change under their name; those registered in place may.
        etag = "" if source.managed else source.etag
        name = str(source.file.name)
        with making.timed():
            size = source.bytes if source.managed else None
            return fetch_whole(media_storage(source.storage_alias), name, size=size, etag=etag)

    def render(self, making: RenderJob, stream: BinaryIO) -> Rendered | None:
        """Render the proxy; if none is needed, decode the original, which shows that it can be read.

        Returns:
            None if no proxy is needed.

        Raises:
            DamagedFile: the bytes are not those of its row.
            MediaError: the file cannot be rendered.
        """
        with making.timed():
            try:
                return self._render(making, stream)
            except CorruptImage:
                _check_bytes(making.source, stream)  # the storage may be at fault, not the file
                raise

    def _render(self, making: RenderJob, stream: BinaryIO) -> Rendered | None:
        facts = making.source.facts
        if facts is None or not making.source.sha256 or self._lacks_a_walk(making):
            facts = self._read_facts(making, stream)
        if not making.reasons:
            making.thumbnail = render.check(stream, limits=limits(), resizer=conf().resizer)
            return None
        rendered = render.render(stream, facts, self.profile, limits=limits(), resizer=conf().resizer)
        making.thumbnail = rendered.thumbnail
        return rendered

    def announce(self, making: RenderJob, rendered: Rendered) -> None:
        """Record the name that `store` is about to write. Do not call this in a transaction."""
        name = f"{self._stem(making.source)}.{EXTENSIONS[rendered.format]}"
        making.note = writing.announce(making.source.pk, self.profile.name, name, before=making.before)

    def store(self, making: RenderJob, rendered: Rendered) -> None:
        """Write the announced proxy, in one atomic write. Does not access the database.

        Raises:
            StorageError: raised by the storage.
        """
        assert making.note is not None  # noqa: S101 - `announce` comes first
        content_type = f"image/{rendered.format.lower()}"
        with making.timed():
            making.stored = proxies_storage().put(making.note.name, rendered.data, content_type=content_type)

    def finish(
        self,
        making: RenderJob,
        rendered: Rendered | None,
        *,
        within: Callable[[ProxyResult], None] | None = None,
    ) -> ProxyResult:
        """Write the proxy's row, release the lease and call ``within``, all in one transaction.

        Raises:
            SourceChanged: the original was replaced since it was read.
            SourceMissing: it was deleted; the stored proxy has been deleted, too.
            LeaseLost: making it took so long that another process may have started.
        """
        try:
            with transaction.atomic():
                result = self._record(making, rendered)
                if within is not None:
                    within(result)
        except IntegrityError as error:
            # The original's row was deleted between our check and our commit.
            if MediaFile.objects.filter(pk=making.source.pk).exists():
                raise
            raise self._gone(making) from error
        return result

    def abandon(self, making: RenderJob) -> None:
        """Release the lease without a proxy, and leave no row that describes overwritten bytes."""
        writing.abandon(making.source.pk, self.profile.name, making.token, making.note)

    # -- Internals -------------------------------------------------------------------------------

    def _stem(self, source: MediaFile) -> str:
        """Return the proxy's name in its storage, without the extension."""
        filename = build_image_proxy_filename(
            source.original_name or source.file.name or "", source.pk, suffix=self.profile.suffix
        )
        return f"{FOLDERS['image']}/{filename.rpartition('.')[0]}"

    def _reasons(self, source: MediaFile) -> list[Reason]:
        return reasons_of(source, self.profile)

    def _read_facts(self, making: RenderJob, stream: BinaryIO) -> ImageFacts:
        """Read the whole original, and determine from its content why it needs a proxy.

        If the bytes are not those that the row describes, neither the row nor the reasons change.
        """
        read = read_facts(stream, limits())
        if read.image is None:
            raise not_an_image(making.source)
        if making.source.sha256 in ("", read.sha256):
            making.new_facts = read
            making.reasons = render.proxy_reasons(read.image, self.profile)
        return read.image

    def _lacks_a_walk(self, making: RenderJob) -> bool:
        """Return whether the original's metadata is not known yet and could affect the result."""
        return making.source.has_metadata is None and Reason.METADATA in making.reasons

    def _settle(self, source: Any, *, force: bool) -> ProxyResult | None:
        """Return the result if the rows determine it without opening a file, else None."""
        if source.file_type != MediaFile.FileType.IMAGE:
            raise not_an_image(source)
        if source.held is not None:
            raise Quarantined(source.held)
        if source.facts is not None and not self._reasons(source):
            if force or not source.is_decoded:
                return None
            self._remove_unneeded(source)
            return ProxyResult(Outcome.SKIPPED, source)
        return None if force else self._reuse(source, writing.find_proxy(source.pk, self.profile.name))

    def _reuse(self, source: MediaFile, proxy: Proxy | None) -> ProxyResult | None:
        if proxy is None or not proxy.is_current(source, self.profile):
            return None
        if self.checks_files and not is_intact(proxy):
            return None
        proxy.source = source
        return ProxyResult(Outcome.REUSED, source, self._reasons(source), proxy)

    def _remove_unneeded(self, source: MediaFile, *fingerprints: str) -> None:
        """Delete the proxy of a file that needs none, unless it is an external one for these bytes."""
        proxy = writing.find_proxy(source.pk, self.profile.name)
        if proxy is not None and not is_kept(proxy, source.fingerprint, *fingerprints):
            proxy.delete()

    def _record(self, making: RenderJob, rendered: Rendered | None) -> ProxyResult:
        source = making.source
        if not leases.release(source.pk, self.profile.name, making.token):
            raise LeaseLost(
                f"The lease on the proxy of file {source.pk} ran out while it was being made. Try it again."
            )
        today = MediaFile.objects.select_for_update().filter(pk=source.pk).first()
        if today is None:
            raise self._gone(making)
        if today.fingerprint != source.fingerprint or today.file.name != source.file.name:
            raise SourceChanged(
                f"File {source.pk} was replaced while its proxy was being made. Try it again."
            )
        if making.new_facts is not None:
            today.set_facts(making.new_facts)
            # Not with save(): its signal receivers have nothing to react to.
            MediaFile.objects.filter(pk=today.pk).update(
                **{name: getattr(today, name) for name in MediaFile.FACT_FIELDS}
            )
        if making.thumbnail is not None:
            _keep_thumbnail(today, making.thumbnail)
        if making.failed_before:
            ProxyFailure.objects.filter(source=today, profile=self.profile.name).delete()
        if rendered is None:
            self._remove_unneeded(today, source.fingerprint)
            return ProxyResult(Outcome.SKIPPED, today)
        return self._record_proxy(making, rendered, today)

    def _record_proxy(self, making: RenderJob, rendered: Rendered, source: MediaFile) -> ProxyResult:
        values = {
            "file_type": Proxy.FileType.IMAGE,
            "width": rendered.width,
            "height": rendered.height,
            "format": rendered.format,
            "bytes": len(rendered.data),
            "sha256": rendered.sha256,
            "etag": making.stored.etag if making.stored else "",
            "version": making.stored.version if making.stored else "",
            "source_fingerprint": source.fingerprint,
            "recipe": self.profile.recipe,
            "provenance": rendered.provenance,
            "seconds": round(making.seconds, 4),
        }
        assert making.note is not None  # noqa: S101 - `announce` came before
        proxy, is_new = writing.record(making.note, source, values)
        outcome = Outcome.CREATED if is_new else Outcome.REPLACED
        transaction.on_commit(
            partial(signals.proxy_ready.send_robust, type(self), source=source, proxy=proxy, outcome=outcome),
            robust=True,
        )
        return ProxyResult(outcome, source, making.reasons, proxy)

    def _gone(self, making: RenderJob) -> SourceMissing:
        return SourceMissing(f"File {making.source.pk} was deleted while its proxy was being made.")


def _check_bytes(source: MediaFile, stream: BinaryIO) -> None:
    """Raise `DamagedFile` unless the stored bytes are those that were added."""
    if source.managed:
        check_content(stream, str(source.file.name), size=None, sha256=source.sha256)


def _keep_thumbnail(source: MediaFile, made: thumbnail.Thumbnail) -> None:
    """Write the row of a thumbnail, or replace it, in one statement."""
    row = Thumbnail(
        source=source,
        source_fingerprint=source.fingerprint,
        version=thumbnail.VERSION,
        width=made.width,
        height=made.height,
        image=made.data,
        created_at=now(),
    )
    changed = [field.name for field in Thumbnail._meta.concrete_fields if not field.primary_key]
    Thumbnail.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["source"], update_fields=changed
    )


def not_an_image(source: MediaFile) -> NotAnImage:
    """Return the error for a video where an image is required."""
    return NotAnImage(
        f"{source} is a video ({source.content_type}). Image proxies are made of images; "
        "a video's proxy is recorded with create_proxy_file()."
    )


def create_image_proxy_internal(source_id: int, *, force: bool = False, profile: str = "nova") -> ProxyResult:
    """Make the proxy of one file by its id, as saving a file does.

    Raises:
        MediaError: one of the named errors.
    """
    return ImageProxyService(profile=profile).create_proxy(source_id, force=force)


__all__ = [
    "ImageProxyService",
    "LeaseLost",
    "ProxyBusy",
    "ProxyResult",
    "RenderJob",
    "build_image_proxy_filename",
    "create_image_proxy_internal",
    "create_proxy_file",
]
