"""Run commands within the test process."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from typing import Any, NamedTuple

from django.core.management import CommandError, call_command, get_commands, load_command_class


class Ended(NamedTuple):
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects on standard output, which must contain nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]


def run_command(name: str, *arguments: object) -> Ended:
    """Run a command as if from a shell, with the exit code of manage.py."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    command: Any = load_command_class(str(get_commands()[name]), name)
    command._called_from_command_line = True  # makes its parser exit, like in a shell
    try:
        with redirect_stderr(err):
            call_command(command, *map(str, arguments), stdout=out, stderr=err)
    except CommandError as error:
        err.write(str(error))
        code = error.returncode
    except SystemExit as error:
        code = int(error.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())
