"""The class that decodes HEIC and HEIF, from whichever of two packages is installed.

pillow-heif is the default because it receives the security fixes of libheif. ``pi_heif`` is the module of the
builds without the GPL encoder x265. Where both are installed, the maintained package wins.
"""

from __future__ import annotations

try:
    from pillow_heif import HeifImageFile
except ModuleNotFoundError as error:
    # Any other failure to load the module must be reported, not hidden behind the second package.
    if error.name != "pillow_heif":
        raise
    from pi_heif import HeifImageFile  # type: ignore[no-redef]

__all__ = ["HeifImageFile"]
