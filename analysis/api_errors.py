"""How the REST API tells of an analysis that could not be made."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class AnalysisFaultSerializer(serializers.Serializer[Any]):
    """A named fault: of the file, of a storage, of the settings, or of the service that was asked."""

    error = serializers.CharField(help_text="A code, such as throttled, access_denied or max_tokens.")
    message = serializers.CharField(help_text="What was found, what is allowed, and what to do.")
