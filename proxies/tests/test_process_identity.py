"""Processes told apart: by pid and start time, within one boot and one PID namespace."""

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
    """Have the kernel's files read below another folder, which the test may fill."""
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


def test_this_process_runs():
    assert runs_here(this_process()) is True
    assert is_here(this_process())
    assert in_words(this_process()) == f"process {os.getpid()} on {socket.gethostname()[:60]}"


def test_a_process_that_ended_is_dead_reaped_or_not():
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = identity_of(process.pid)
        assert runs_here(identity) is True
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert runs_here(identity) is False, "a zombie holds nothing"
    assert runs_here(identity) is False


def test_another_process_with_the_same_pid_is_another_one():
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
    ids=["another container", "an older version", "another machine's older version", "rubbish", "nobody"],
)
def test_of_processes_elsewhere_nothing_can_be_seen(identity):
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
        # A file that is kept in being has its inode to itself.
        (ours / "ns" / namespace).touch()
        (ours / "ns" / "pid").unlink(missing_ok=True)
        (ours / "ns" / "pid").hardlink_to(ours / "ns" / namespace)
        _forget()
        return this_process()

    identities = [identity("boot", "a"), identity("boot", "b"), identity("another boot", "a")]
    assert len(set(identities)) == 3
    assert identity("boot", "a") == identities[0]
    assert [runs_here(other) for other in identities] == [True, None, None]


def test_a_proc_of_another_namespace_shows_strangers_and_is_not_believed(other_files):
    """`unshare --pid` without a new /proc: our pid there is somebody else's."""
    folder = other_files / "proc/sys/kernel/random"
    folder.mkdir(parents=True)
    (folder / "boot_id").write_text("boot")
    (other_files / "proc/self").symlink_to("1234567")
    (other_files / "proc/1234567/ns").mkdir(parents=True)
    (other_files / "proc/1234567/ns/pid").touch()
    before = this_process()
    _forget()
    assert before != this_process(), "every such process is alone in its space"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_clock_that_is_set_kills_nobody(monkeypatch):
    """The system tells a process's start by the clock: when that is set, it tells another one."""
    identity = this_process()
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    assert runs_here(identity) is True


def test_where_there_is_no_proc_a_file_names_the_machine_and_the_clock_the_start(other_files):
    identity = this_process()
    assert runs_here(identity) is True
    assert identity.endswith(f":{psutil.Process().create_time():.2f}")
    _forget()
    assert this_process() == identity
    next(iter((other_files / "tmp").iterdir())).unlink()
    _forget()
    assert this_process() != identity
    assert runs_here(identity) is None
