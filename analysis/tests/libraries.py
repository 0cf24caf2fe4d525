"""Helpers for installations with many small pictures that use the fake services."""

from __future__ import annotations

import json
from typing import Any

from analysis.tests.wire import Service
from novaproxy_site.tests.installation import Installation


def lead(installation: Installation, service: Service, **settings: str) -> None:
    """Point an installation to this service. Call this before its first process starts."""
    installation.environment |= service.environment | settings


def fill(installation: Installation, count: int) -> None:
    """Add ``count`` different pictures, small enough to be sent without a proxy."""
    installation.shell(f"""
        import io
        from media_files.services import add_file
        from media_files.tests.pictures import jpeg
        for number in range({count}):
            add_file(io.BytesIO(jpeg(100 + number % 50, 90 + number // 50)), f"{{number}}.jpg")
    """)


def ask(installation: Installation, expression: str) -> Any:
    """Evaluate an expression over the models in the installation; return its value."""
    return json.loads(
        installation.shell(f"""
            import json
            from analysis.models import *
            from media_files.models import MediaFile
            from proxies.models import Batch, BatchItem
            print(json.dumps({expression}, default=str))
        """)
    )


def start(installation: Installation) -> int:
    """Start a batch over all files for the workers; return its id."""
    return int(
        installation.shell("""
            from analysis.options import parameters_of
            from media_files.models import MediaFile
            from proxies.batches import lifecycle
            from proxies.batches.selection import Selection
            files = Selection(MediaFile.objects.all())
            print(lifecycle.start("analyze-nova", files, parameters_of()).pk)
        """)
    )
