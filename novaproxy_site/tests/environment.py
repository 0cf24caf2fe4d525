"""The environment of tests: the caller's environment without real data, plus what tests rely on."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

# Variables that settings.py, boto3 or django-q2 read.
OURS = ("NOVAPROXY_", "AWS_", "Q_CLUSTER", "DJANGO_", "DATABASE_URL", "SECRET_KEY", "DEBUG", "SECURE_COOKIES")
OURS_TOO = ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "TIME_ZONE")
KEPT = ("NOVAPROXY_TEST_", "NOVAPROXY_CHAOS_", "DJANGO_SETTINGS_MODULE")

ALWAYS = {
    # Ignore the .env beside manage.py, which may belong to a real library.
    "NOVAPROXY_ENV_FILE": os.devnull,
    "DEBUG": "1",
    "SECRET_KEY": "a secret of the tests alone, longer than fifty characters, and of no use",
    # By default boto3 reads the user's configuration files and queries the EC2 metadata server.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without anything that points to real data, plus what tests rely on."""
    kept = {
        name: value
        for name, value in environment.items()
        if name.startswith(KEPT) or not name.startswith(OURS + OURS_TOO)
    }
    return kept | ALWAYS


class NetworkRefused(RuntimeError):
    """A test tried to reach another machine."""


def _refuse_other_machines(host: object) -> None:
    if host in {None, "", "localhost", b"localhost"}:
        return
    try:
        local = ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        local = False
    if not local:
        raise NetworkRefused(f"A test asked for {host!r}. Tests may only talk to servers on this machine.")


@contextmanager
def only_this_machine() -> Iterator[None]:
    """Refuse connections to other machines and look-ups of their names while the block runs."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            _refuse_other_machines(address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            _refuse_other_machines(address[0])
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        _refuse_other_machines(host)
        return getaddrinfo(host, *arguments, **options)

    with (
        mock.patch.object(socket.socket, "connect", guarded_connect),
        mock.patch.object(socket.socket, "connect_ex", guarded_connect_ex),
        mock.patch.object(socket, "getaddrinfo", guarded_getaddrinfo),
    ):
        yield
