"""Find damage in an AVIF picture that its decoder conceals.

dav1d decodes whatever it is given, and reports damage only where the nonsense breaks a rule: half of all
overwritten files become pictures with stray colours. libaom also checks that the arithmetic coding of every
tile ends exactly where its data end, which damaged data do not. imagecodecs brings libaom, so the coded
pictures are decoded once more with it. Sources: AV1 Bitstream & Decoding Process Specification, sections
5.11.1 and 8.2.4 (the end of a tile's data); libaom's headers ``aom_codec.h`` and ``aom_decoder.h``.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from typing import BinaryIO, Final

from media_files.imaging.formats.bundled import Signatures, find_libraries
from media_files.imaging.formats.heif_items import Items, read_item

logger = logging.getLogger(__name__)

_CODED: Final = b"av01"
_ABI: Final = 22
"""The version of libaom's decoder interface, of libaom 3. Another one is reported, and not called."""

_LARGEST: Final = 36_000_000
"""Pixels of one coded picture. Level 6.3 allows 35,651,584."""

_CONTEXT_BYTES: Final = 512
"""More than the decoder's context takes: 56."""

_OK, _NO_MEMORY, _CORRUPT = 0, 2, 7

_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t


class _StreamInfo(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_uint),
        ("height", ctypes.c_uint),
        ("is_key_frame", ctypes.c_uint),
        ("spatial_layers", ctypes.c_uint),
        ("temporal_layers", ctypes.c_uint),
        ("is_annex_b", ctypes.c_uint),
    )


_SIGNATURES: Final[Signatures] = {
    "aom_codec_av1_dx": (_POINTER, []),
    "aom_codec_peek_stream_info": (_INT, [_POINTER, ctypes.c_char_p, _SIZE, ctypes.POINTER(_StreamInfo)]),
    "aom_codec_dec_init_ver": (_INT, [_POINTER, _POINTER, _POINTER, ctypes.c_long, _INT]),
    "aom_codec_decode": (_INT, [_POINTER, ctypes.c_char_p, _SIZE, _POINTER]),
    "aom_codec_get_frame": (_POINTER, [_POINTER, ctypes.POINTER(_POINTER)]),
    "aom_codec_destroy": (_INT, [_POINTER]),
}


@functools.lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Return libaom, or None if it is not found or is of another version."""
    for library in find_libraries("aom", ("imagecodecs",), _SIGNATURES):
        context = ctypes.create_string_buffer(_CONTEXT_BYTES)
        if library.aom_codec_dec_init_ver(context, library.aom_codec_av1_dx(), None, 0, _ABI) == _OK:
            library.aom_codec_destroy(context)
            return library
    logger.warning("AVIF pictures are not checked for damage, because libaom was not found.")
    return None


def can_check() -> bool:
    """Return whether libaom was found, without which only dav1d's errors are found."""
    return _library() is not None


def find_damage(stream: BinaryIO, items: Items) -> str | None:
    """Return what is damaged in the coded pictures that are shown, or None if nothing is.

    Takes about as long as dav1d's decoding. Memory: for one coded picture at a time, its data and some
    15 bytes for each of its pixels.

    Args:
        stream: the file; left at an unspecified position.
        items: of that file.

    Raises:
        MemoryError: an allocation was refused.
    """
    library = _library()
    if library is None:
        return None
    seen = set()
    for item in items.shown():
        if item.type != _CODED or item.extents in seen:
            continue
        seen.add(item.extents)
        damage = _find_damage(library, read_item(stream, item))
        if damage is not None:
            return damage
    return None


def _find_damage(library: ctypes.CDLL, data: bytes) -> str | None:
    decoder, info = library.aom_codec_av1_dx(), _StreamInfo()
    peeked = library.aom_codec_peek_stream_info(decoder, data, len(data), ctypes.byref(info))
    if peeked != _OK or info.width * info.height > _LARGEST:
        return None  # dav1d says so, too
    context = ctypes.create_string_buffer(_CONTEXT_BYTES)
    if library.aom_codec_dec_init_ver(context, decoder, None, 0, _ABI) != _OK:
        raise MemoryError("libaom has no memory for a decoder")
    try:
        result = library.aom_codec_decode(context, data, len(data), None)
        if result == _NO_MEMORY:
            raise MemoryError("libaom has no memory for a picture")
        if result == _CORRUPT:
            return "its coded data contradict themselves"
        if result != _OK:
            logger.info("libaom does not decode an AVIF picture: error %d", result)
            return None
        position = ctypes.c_void_p()
        shown = library.aom_codec_get_frame(context, ctypes.byref(position))
        return None if shown else "its coded data hold no picture"
    finally:
        library.aom_codec_destroy(context)
