"""Holders of leases: alive, dead, or of another machine."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from proxies.holders import holder_of, is_alive, is_dead, this_holder


def test_this_process_lives():
    assert is_alive(this_holder())
    assert not is_dead(this_holder())


def test_a_process_that_ended_is_dead_reaped_or_not():
    with subprocess.Popen(["sleep", "60"]) as process:
        holder = holder_of(process.pid)
        assert is_alive(holder)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(holder), "a zombie holds nothing"
    assert is_dead(holder)


def test_another_process_with_the_same_pid_is_another_holder():
    host, pid, start = this_holder().rsplit(":", 2)
    assert is_dead(f"{host}:{pid}:{start}1")


def test_of_other_machines_nothing_is_known():
    elsewhere = f"not-{socket.gethostname()[:50]}:{os.getpid()}:1"
    assert not is_alive(elsewhere)
    assert not is_dead(elsewhere)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_clock_that_is_set_kills_nobody(monkeypatch):
    """The system tells a process's start by the clock: when that is set, it tells another one."""
    holder = this_holder()
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    assert is_alive(holder)


def test_where_there_is_no_proc_the_clock_is_all_there_is(monkeypatch):
    monkeypatch.setattr("proxies.holders.Path", lambda path: Path("/nowhere", path.removeprefix("/")))
    holder_of.cache_clear()
    assert is_alive(this_holder())
    assert this_holder().endswith(f":{psutil.Process().create_time():.2f}")
    holder_of.cache_clear()
