"""Find damage in a HEVC picture that its decoder conceals.

libheif returns a picture even if its coded data were overwritten: it shows grey or stray colours, and
reports no error. But arithmetic coding leaves traces. Once a bit is wrong, everything after it decodes to
nonsense, and the marks at the end of each slice and row of blocks are not found where they must be. libde265
reports this as warnings, which libheif does not read. Blocks that are never reached still hold the random
samples that were written there before decoding.

So libde265 itself, which comes with libheif, decodes the coded pictures once more, without its two smoothing
filters and without colours. Sources: ITU-T H.265, sections 7.3.8 and 9.3; ISO/IEC 14496-15, section 8.3.3.1;
libde265's header ``de265.h`` of version 1.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from media_files.imaging.formats.heif_items import Item, Items

logger = logging.getLogger(__name__)

_CODED: Final = b"hvc1"
_API: Final = 1
"""The major version of libde265 whose functions are called here."""

_NO_DEBLOCKING, _NO_OFFSETS = 7, 8
_FILTERS: Final = (_NO_DEBLOCKING, _NO_OFFSETS)
_DAMAGE: Final = frozenset({1002, 1003, 1004, 1005, 1006, 1007, 1009, 1010, 1017})
"""Warnings that a slice, a row or a header is not what it must be; others are about limits and threads."""

_OUT_OF_MEMORY, _WAITING, _FIRST_NOT_READ = 7, 13, 500
"""Errors below the last are faults of the data, except for the first two."""

_LARGEST: Final = 36_000_000
"""Pixels of one coded picture. Level 6.2 allows 35,651,584, in whole blocks."""

_ALIGNMENT: Final = 64
_BYTE: Final = 8
_BLOCK: Final = 16
"""Samples a side of the smallest blocks of which a picture consists (coding tree blocks)."""

_LENGTHS_AT, _ARRAYS_AT = 21, 22


class _Spec(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("alignment", ctypes.c_int),
    )


_GetBuffer = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_Spec), ctypes.c_void_p, ctypes.c_void_p
)
_ReleaseBuffer = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class _Allocation(ctypes.Structure):
    _fields_ = (("get", _GetBuffer), ("release", _ReleaseBuffer))


_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "get_version_number": (ctypes.c_uint32, []),
    "new_decoder": (_POINTER, []),
    "free_decoder": (_INT, [_POINTER]),
    "set_parameter_bool": (None, [_POINTER, _INT, _INT]),
    "set_image_allocation_functions": (None, [_POINTER, ctypes.POINTER(_Allocation), _POINTER]),
    "set_image_plane": (None, [_POINTER, _INT, _POINTER, _INT, _POINTER]),
    "get_bits_per_pixel": (_INT, [_POINTER, _INT]),
    "push_NAL": (_INT, [_POINTER, ctypes.c_char_p, _INT, ctypes.c_int64, _POINTER]),
    "flush_data": (_INT, [_POINTER]),
    "decode": (_INT, [_POINTER, ctypes.POINTER(_INT)]),
    "get_next_picture": (_POINTER, [_POINTER]),
    "get_image_plane": (_POINTER, [_POINTER, _INT, ctypes.POINTER(_INT)]),
    "get_warning": (_INT, [_POINTER]),
    "get_error_text": (ctypes.c_char_p, [_INT]),
}


def _candidates() -> Iterator[str]:
    """Yield where libde265 may be: beside the package that has brought it, or in the system."""
    for package in ("pillow_heif", "pi_heif"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        home = Path(spec.origin).parent
        for folder in (home.with_name(f"{package}.libs"), home / ".dylibs", home, home.parent):
            yield from sorted(str(path) for path in folder.glob("*de265*.*") if path.is_file())
    found = ctypes.util.find_library("de265")
    if found is not None:
        yield found


@functools.lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Return libde265, or None if it is not found or is of another version."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(library, f"de265_{name}")
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            logger.info("libde265 of %s cannot be used: %s", path, error)
            continue
        if library.de265_get_version_number() >> 24 == _API:
            return library
    logger.warning("HEIC pictures are not checked for damage, because libde265 was not found.")
    return None


def can_check() -> bool:
    """Return whether libde265 was found, without which no damage is found."""
    return _library() is not None


def find_damage(stream: BinaryIO, items: Items) -> str | None:
    """Return what is damaged in the coded pictures that are shown, or None if nothing is.

    Takes half as long as libheif's decoding. Memory: for one coded picture at a time, its data and 2 bytes
    for each of its pixels; 3 in full colour, and twice that for more than 8 bits.

    Args:
        stream: the file; left at an unspecified position.
        items: of that file.

    Raises:
        MemoryError: an allocation was refused.
    """
    library = _library()
    if library is None:
        return None
    seen: set[tuple[object, ...]] = set()
    for item in items.shown():
        setup = item.first(b"hvcC")
        if item.type != _CODED or setup is None or (setup, item.extents) in seen:
            continue
        seen.add((setup, item.extents))
        damage = _find_damage(library, stream, item, setup)
        if damage is not None:
            return damage
    return None


def _find_damage(library: ctypes.CDLL, stream: BinaryIO, item: Item, setup: bytes) -> str | None:
    units = _units(setup, _read(stream, item))
    return "its coded data end early" if units is None else _Decoding(library).run(units)


def _read(stream: BinaryIO, item: Item) -> bytes:
    parts = []
    for offset, size in item.extents:
        stream.seek(offset)
        # A size of zero means up to the end of the file.
        parts.append(stream.read(size or -1))
    return b"".join(parts)


def _units(setup: bytes, data: bytes) -> list[bytes] | None:
    """Return the NAL units of the setup and of a picture, or None if one ends after its data."""
    if len(setup) <= _ARRAYS_AT:
        return None
    units, at = [], _ARRAYS_AT + 1
    for _ in range(setup[_ARRAYS_AT]):
        count = int.from_bytes(setup[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(setup[at : at + 2], "big")
            units.append(setup[at + 2 : at + 2 + size])
            at += 2 + size
            if at > len(setup):
                return None
    wide, at = (setup[_LENGTHS_AT] & 3) + 1, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + wide], "big")
        units.append(data[at + wide : at + wide + size])
        at += wide + size
    return units if at == len(data) else None


class _Plane:
    """Memory for one plane of samples, at an aligned address. Its stride is in bytes."""

    def __init__(self, width: int, height: int, sample: int) -> None:
        self.stride = -(-width * sample // _ALIGNMENT) * _ALIGNMENT
        self._width, self._height = width * sample, height
        # Twice the memory for 16 bits: a version of libde265 that counts strides in samples stays within it.
        self._memory = bytearray(self.stride * sample * height + 2 * _ALIGNMENT)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._offset = -start % _ALIGNMENT
        self.address = start + self._offset

    def rows(self, step: int = 1) -> Iterator[memoryview]:
        """Yield every ``step``-th row, without its padding."""
        for at in range(0, self._height * self.stride, step * self.stride):
            yield memoryview(self._memory)[self._offset + at :][: self._width]


class _Decoding:
    """One coded picture, decoded into samples that show what was never written."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._planes: list[_Plane] = []
        self._pattern, self._sample = b"", 1
        self._requests, self._strides = 0, list[int]()
        self._too_large = False
        self._refused: MemoryError | None = None

    def run(self, units: list[bytes]) -> str | None:
        """Decode the units, and return what is damaged."""
        library = self._library
        decoder = library.de265_new_decoder()
        if not decoder:
            raise MemoryError("libde265 has no memory for a decoder")
        functions = _Allocation(_GetBuffer(self._allocate), _ReleaseBuffer(lambda *_: None))
        try:
            library.de265_set_image_allocation_functions(decoder, ctypes.byref(functions), None)
            for filtering in _FILTERS:
                library.de265_set_parameter_bool(decoder, filtering, 1)
            errors = [library.de265_push_NAL(decoder, unit, len(unit), 0, None) for unit in units]
            errors.append(library.de265_flush_data(decoder))
            errors += self._decode(decoder)
            return self._damage(errors)
        finally:
            library.de265_free_decoder(decoder)

    def _decode(self, decoder: int) -> list[int]:
        """Decode all, and return the numbers of errors and warnings."""
        found, more = [], ctypes.c_int(1)
        while more.value:
            more.value = 0
            found.append(self._library.de265_decode(decoder, ctypes.byref(more)))
            if found[-1]:
                break
            picture = self._library.de265_get_next_picture(decoder)
            if picture:
                stride = ctypes.c_int()
                self._library.de265_get_image_plane(picture, 0, ctypes.byref(stride))
                self._strides.append(stride.value)
        while warning := self._library.de265_get_warning(decoder):
            found.append(warning)
        return found

    def _damage(self, errors: list[int]) -> str | None:
        if self._refused is not None:
            raise self._refused
        if self._too_large:
            return None  # libheif says so, too
        if self._requests > 1:
            return "its coded data hold a second picture where there must be one"
        if _OUT_OF_MEMORY in errors:
            raise MemoryError("libde265 has no memory for a picture")
        for number in errors:
            if number in _DAMAGE or (0 < number < _FIRST_NOT_READ and number != _WAITING):
                said = self._library.de265_get_error_text(number).decode("ascii", "replace")
                logger.info("libde265 reports about a HEIC picture: %s", said)
                return "its coded data contradict themselves"
        if not self._strides:
            return "its coded data hold no picture"
        if self._strides != [self._planes[0].stride]:
            logger.warning("This version of libde265 arranges samples in another way: HEIC is checked less.")
            return None
        return "its coded data end before its last block" if self._has_untouched_block() else None

    def _has_untouched_block(self) -> bool:
        size = _BLOCK * self._sample
        pattern = self._pattern
        return any(
            row[at : at + size] == pattern[at : at + size]
            for row in self._planes[0].rows(_BLOCK)
            for at in range(0, len(pattern), size)
        )

    def _allocate(self, _decoder: int, spec: Any, image: int, _data: int | None) -> int:
        """Give the decoder memory for a picture; called by libde265. Returns 1 if there is some."""
        self._requests += 1
        width, height = spec.contents.width, spec.contents.height
        if self._requests > 1:
            return 0
        if width * height > _LARGEST:
            self._too_large = True
            return 0
        try:
            self._prepare(width, height, image)
        except MemoryError as error:
            self._refused = error
            return 0
        return 1

    def _prepare(self, width: int, height: int, image: int) -> None:
        bits = self._library.de265_get_bits_per_pixel(image, 0)
        self._sample = 1 if bits <= _BYTE else 2
        self._planes = [_Plane(width, height, self._sample) for _ in range(3)]
        chance = random.Random(0)  # noqa: S311 - a pattern, not a secret
        values = (chance.getrandbits(bits).to_bytes(self._sample, sys.byteorder) for _ in range(width))
        self._pattern = b"".join(values)
        for row in self._planes[0].rows():
            row[:] = self._pattern
        for number, plane in enumerate(self._planes):
            self._library.de265_set_image_plane(image, number, plane.address, plane.stride, None)
