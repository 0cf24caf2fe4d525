"""Fixtures shared by the tests of all apps, and both storages."""

import pytest

from media_files.storage.local import LocalStorage
from media_files.storage.s3 import BucketStorage
from media_files.tests.fixtures import add, everything, folders, inline, off  # noqa: F401


@pytest.fixture
def local(tmp_path):
    (tmp_path / "media").mkdir()
    return LocalStorage(location=tmp_path / "media")


@pytest.fixture
def remote(relayed_bucket):
    return BucketStorage(**relayed_bucket.options("some/prefix"))


@pytest.fixture(params=["local", pytest.param("remote", marks=pytest.mark.s3)])
def storage(request):
    """Return each of the two storages, for tests of their common behaviour."""
    return request.getfixturevalue(request.param)
