"""Pages that belong to no app."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from proxies.models import WorkerState


def healthz(request: HttpRequest) -> JsonResponse:
    """200 when requests can be answered; says also whether a worker is alive, which they do not need."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        workers = WorkerState.objects.alive().count()
    except DatabaseError as error:
        return JsonResponse({"status": "unavailable", "database": type(error).__name__}, status=503)
    return JsonResponse({"status": "ok", "database": "ok", "workers": workers})
