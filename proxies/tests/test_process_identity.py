"""Processes are identified by pid and start time, within one boot and one PID namespace."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from proxies.processes import identity
from proxies.processes.identity import identity_of, in_words, is_here, runs_here, this_process


@pytest.fixture
def other_files(monkeypatch, tmp_path):
    """Read the kernel's files from another folder, which the test may fill."""
    monkeypatch.setattr(identity, "Path", lambda path: tmp_path / str(path).removeprefix("/"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")  # noqa: S108 (below it)
    (tmp_path / "tmp").mkdir()
    _forget()
    yield tmp_path
    monkeypatch.undo()
    _forget()


def _forget():
    identity_of.cache_clear()
    identity._space.cache_clear()


def test_this_process_is_running():
    assert runs_here(this_process()) is True
    assert is_here(this_process())
    assert in_words(this_process()) == f"process {os.getpid()} on {socket.gethostname()[:60]}"


def test_a_process_that_ended_is_dead_reaped_or_not():
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = identity_of(process.pid)
        assert runs_here(identity) is True
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert runs_here(identity) is False, "a zombie holds no lease"
    assert runs_here(identity) is False


def test_a_process_that_reuses_a_pid_is_a_different_one():
    assert runs_here(this_process() + "1") is False


@pytest.mark.parametrize(
    "identity",
    [
        f"{socket.gethostname()}:0123456789abcdef:{os.getpid()}:1",
        f"{socket.gethostname()}:{os.getpid()}:1",
        "another-machine:1:1.00",
        "host:space:no number:1",
        "",
    ],
    ids=["another container", "an older version", "another machine's older version", "invalid", "empty"],
)
def test_the_state_of_processes_elsewhere_is_unknown(identity):
    assert runs_here(identity) is None
    assert not is_here(identity)
    assert in_words(identity)


def test_a_new_boot_or_a_new_namespace_is_another_place(other_files):
    def identity(boot: str, namespace: str) -> str:
        for path, text in {
            "proc/sys/kernel/random/boot_id": boot,
            f"proc/{os.getpid()}/stat": f"{os.getpid()} (python) " + " ".join(map(str, range(50))),
        }.items():
            (other_files / path).parent.mkdir(parents=True, exist_ok=True)
            (other_files / path).write_text(text)
        ours = other_files / "proc/self"
        if not ours.is_symlink():
            ours.symlink_to(str(os.getpid()))
        (ours / "ns").mkdir(exist_ok=True)
        # While a file exists, no other file has its inode number.
        (ours / "ns" / namespace).touch()
        (ours / "ns" / "pid").unlink(missing_ok=True)
        (ours / "ns" / "pid").hardlink_to(ours / "ns" / namespace)
        _forget()
        return this_process()

    identities = [identity("boot", "a"), identity("boot", "b"), identity("another boot", "a")]
    assert len(set(identities)) == 3
    assert identity("boot", "a") == identities[0]
    assert [runs_here(other) for other in identities] == [True, None, None]


def test_a_proc_of_another_namespace_is_not_trusted(other_files):
    """`unshare --pid` without a new /proc: our pid there belongs to another process."""
    folder = other_files / "proc/sys/kernel/random"
    folder.mkdir(parents=True)
    (folder / "boot_id").write_text("boot")
    (other_files / "proc/self").symlink_to("1234567")
    (other_files / "proc/1234567/ns").mkdir(parents=True)
    (other_files / "proc/1234567/ns/pid").touch()
    before = this_process()
    _forget()
    assert before != this_process(), "each such process must have its own space"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_clock_change_makes_no_process_look_dead(monkeypatch):
    """The system derives a process's start time from the clock, so setting the clock changes it."""
    identity = this_process()
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    assert runs_here(identity) is True


def test_without_proc_a_file_identifies_the_machine_and_the_clock_the_start(other_files):
    identity = this_process()
    assert runs_here(identity) is True
    assert identity.endswith(f":{psutil.Process().create_time():.2f}")
    _forget()
    assert this_process() == identity
    next(iter((other_files / "tmp").iterdir())).unlink()
    _forget()
    assert this_process() != identity
    assert runs_here(identity) is None
