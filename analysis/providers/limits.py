"""A service's input limits, checked before a call is paid for. Errors name the limit and the remedy."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.errors import ImageTooSmall
from analysis.providers.base import Image
from media_files.errors import FileTooLarge, ImageTooLarge, UnsupportedFormat


@dataclass(frozen=True, slots=True)
class Limits:
    """The input limits of one service.

    Attributes:
        label: display name of the service.
        formats: Pillow's names of the accepted formats.
        longest_side: px.
        embedded: maximum bytes of a file embedded in a request.
        in_bucket: maximum bytes of an S3 object.
        profile: a profile whose proxies are within all limits.
        shortest_side: px.
    """

    label: str
    formats: tuple[str, ...]
    longest_side: int
    embedded: int
    in_bucket: int
    profile: str
    shortest_side: int = 1

    def check(self, image: Image, *, embedded: bool) -> None:
        """Reject an image that the service would reject.

        Raises:
            UnsupportedFormat, ImageTooLarge, ImageTooSmall, FileTooLarge: with the limit and the remedy.
        """
        size = f"{image.width} x {image.height} px"
        if image.format not in self.formats:
            raise UnsupportedFormat(
                f"{self.label} reads {', '.join(self.formats)}, and the file is "
                f"{image.format or 'of no known format'}. Choose the profile {self.profile}, which makes one "
                "of these of it."
            )
        if min(image.width, image.height) < self.shortest_side:
            raise ImageTooSmall(
                f"The file is {size}; {self.label} needs {self.shortest_side} px a side. Use a larger "
                "picture; nothing is gained by enlarging this one."
            )
        if max(image.width, image.height) > self.longest_side:
            raise ImageTooLarge(
                f"The file is {size}; {self.label} takes {self.longest_side:,} px a side. Choose the profile "
                f"{self.profile}, which makes it smaller."
            )
        limit = self.embedded if embedded else self.in_bucket
        if image.bytes > limit:
            way = "in a request" if embedded else "from a bucket"
            bucket = ", or set NOVAPROXY_ANALYSIS_BUCKET to send it by way of S3" if embedded else ""
            raise FileTooLarge(
                f"The file has {image.bytes:,} bytes; {self.label} takes {limit:,} {way}. Choose the profile "
                f"{self.profile}, which makes it smaller{bucket}."
            )
