"""``manage.py worker``: process the jobs in the queue."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from media_files.console import PlainCommand, UsageError, refuse_missing_library
from media_files.storage.probe import failing_storages
from proxies.conf import queue_settings, setting
from proxies.processes.control_dir import VARIABLE, ControlDir
from proxies.queue.supervisor import GRACE, Supervisor, Times, cluster_command

# Seconds. django-q2 kills a task 3 s after its time limit, checking twice a second; the rest allows for a
# busy machine.
STALL_MARGIN = 30


class Command(PlainCommand):
    """Run the supervisor, or, when the supervisor calls it, the cluster."""

    help = "Works off the queue until Ctrl-C, TERM or HUP stops it. Run one on each machine."
    # A worker may start before the database responds or has its tables, and waits for it.
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--workers",
            type=int,
            default=queue_settings().get("workers") or setting("NOVAPROXY_WORKERS"),
            metavar="N",
            help="processes that make proxies at the same time (default: %(default)s)",
        )
        parser.add_argument(
            "--stalled-after",
            type=float,
            default=(queue_settings().get("timeout") or 0) + STALL_MARGIN,
            metavar="SECONDS",
            help="restart when there is work and none was finished for this long (default: %(default)s)",
        )
        parser.add_argument(
            "--grace",
            type=float,
            default=GRACE,
            metavar="SECONDS",
            help="how long a stop waits for the pictures in hand, before it kills (default: %(default)s)",
        )
        parser.add_argument(
            "--answer-grace",
            type=float,
            default=setting("NOVAPROXY_ANALYSIS_TIMEOUT"),
            metavar="SECONDS",
            help="how long a stop waits for answers that were asked for before it (default: %(default)s)",
        )
        parser.add_argument("--cluster", action="store_true", help=argparse.SUPPRESS)

    def handle(self, *, workers: int, cluster: bool, **options: Any) -> None:
        """Run until a signal arrives."""
        if cluster:
            self._run_cluster()
            return
        if workers < 1:
            raise UsageError("--workers: at least 1 process is needed.")
        times = Times(options["stalled_after"], options["grace"], options["answer_grace"])
        if times.stalled_after <= 0 or times.grace <= 0 or times.answers < 0:
            raise UsageError("--stalled-after, --grace: more than 0 seconds are needed.")
        refuse_missing_library()
        # Failures are logged: a worker waits for storages as it does for the database.
        failing_storages()
        self._supervise(workers, times)

    def _supervise(self, workers: int, times: Times) -> None:
        from proxies.queue.cluster import tasks_waiting  # noqa: PLC0415 (django-q2 reads its settings then)
        from proxies.queue.supervisor_report import DatabaseReport  # noqa: PLC0415

        os.environ["NOVAPROXY_WORKERS"] = str(workers)
        report = DatabaseReport(tasks_waiting)
        report.start()
        Supervisor(
            folder=Path(settings.DATA_DIR) / "workers",
            command=cluster_command(Path(settings.BASE_DIR) / "manage.py"),
            processes=workers,
            times=times,
            report=report,
        ).run()
        report.close()

    def _run_cluster(self) -> None:
        from proxies.queue.cluster import run  # noqa: PLC0415 (django-q2 reads its settings then)

        control_dir = ControlDir.of_environment()
        if control_dir is None:
            raise UsageError(f"--cluster is for the supervisor, which sets {VARIABLE}.")
        run(control_dir)
