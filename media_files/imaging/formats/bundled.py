"""Find the libraries that come with packages, to call functions that the packages do not offer.

Wheels keep them in a folder beside the package, under names with a suffix of their own.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Signatures = Mapping[str, tuple[Any, list[Any]]]
"""The type of the result and those of the arguments, by the name of the function."""


def find_libraries(name: str, packages: tuple[str, ...], signatures: Signatures) -> Iterator[ctypes.CDLL]:
    """Yield the copies of a library that have all functions of ``signatures``, set up to be called.

    Args:
        name: without prefix and suffix, such as ``de265``.
        packages: the modules that may bring it; the system's copy comes last.
        signatures: the functions.
    """
    for path in _candidates(name, packages):
        try:
            library = ctypes.CDLL(path)
            for function_name, (result, arguments) in signatures.items():
                function = getattr(library, function_name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            logger.info("The library %s cannot be used: %s", path, error)
            continue
        yield library


def _candidates(name: str, packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        home = Path(spec.origin).parent
        for folder in (home.with_name(f"{package}.libs"), home / ".dylibs", home):
            yield from sorted(str(path) for path in folder.glob(f"*{name}[-.]*") if path.is_file())
    found = ctypes.util.find_library(name)
    if found is not None:
        yield found
