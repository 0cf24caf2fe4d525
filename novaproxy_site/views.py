"""Views that belong to no single app."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from proxies.models import WorkerState


def healthz(request: HttpRequest) -> JsonResponse:
    """Return 200 if the database responds. Also report the number of live workers, which need not be any."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        workers = WorkerState.objects.alive().count()
    except DatabaseError as error:
        return JsonResponse({"status": "unavailable", "database": type(error).__name__}, status=503)
    return JsonResponse({"status": "ok", "database": "ok", "workers": workers})
