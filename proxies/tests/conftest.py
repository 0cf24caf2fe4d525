"""The fixtures that the tests of all apps share."""

from media_files.tests.fixtures import add, everything, folders, inline, off  # noqa: F401
