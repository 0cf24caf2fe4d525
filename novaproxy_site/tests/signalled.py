"""Upload or replace files endlessly, in a process that a test sends signals to.

Run ``python -m novaproxy_site.tests.signalled upload|replace FIRST_SEED`` in an installation's environment.
"""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import Any

import django


def main(door: str, first: int) -> None:
    """Upload new pictures one by one, or replace the same row's file with them."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "novaproxy_site.settings")
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.files.base import ContentFile
    from django.core.files.uploadedfile import SimpleUploadedFile
    from rest_framework.test import APIClient

    from media_files.models import MediaFile
    from proxies.tests.crashing import scan

    client = APIClient(HTTP_HOST="localhost")
    user, _ = get_user_model().objects.get_or_create(username="caller", is_superuser=True)
    client.force_authenticate(user)
    row: Any = MediaFile.objects.order_by("id").first()
    for seed in count(first):
        if door == "upload":
            part = SimpleUploadedFile(f"{seed}.tif", scan(seed))
            status = client.post("/api/files", {"file": part}, format="multipart").status_code
            assert status == 201, status
        else:
            row.file = ContentFile(scan(seed), name=f"{seed}.tif")
            row.save()
        sys.stdout.write(f"{seed}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
