"""Record the signals that ask a process to stop, and wake it from its sleep."""

from __future__ import annotations

import select
import signal
import socket
import time
from types import FrameType, TracebackType
from typing import Any, Final, Self


class Signals:
    """Record a supervisor's signals while the block runs, and provide a sleep that they interrupt.

    Attributes:
        stop: the first signal that requested a stop; None until then.
        is_repeated: whether another one came later, from a user who does not want to wait.
    """

    # A signal may arrive twice at once: sent to the group, and passed on by the parent.
    _AT_ONCE: Final = 1.0
    STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.stop: signal.Signals | None = None
        self.is_repeated = False
        self._stopped_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in self.STOPPING:
            # nohup ignores HUP, and a shell's background job ignores INT; both must stay ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        # Only to interrupt the sleep when the cluster ends.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _do_nothing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._sender.close()
        self._receiver.close()

    def wait(self, seconds: float) -> None:
        """Sleep until a signal arrives, for at most `seconds`."""
        if select.select([self._receiver], [], [], seconds)[0]:
            self._receiver.recv(4096)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.stop is None:
            self.stop, self._stopped_at = signal.Signals(number), time.monotonic()
        elif time.monotonic() > self._stopped_at + self._AT_ONCE:
            self.is_repeated = True


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal whose arrival is all that matters."""
