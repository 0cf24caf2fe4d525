"""The REST API's error response for an analysis that failed."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class AnalysisFaultSerializer(serializers.Serializer[Any]):
    """A named error caused by the file, a storage, the settings or the provider."""

    error = serializers.CharField(help_text="A code, such as throttled, access_denied or max_tokens.")
    message = serializers.CharField(help_text="What was found, what is allowed, and what to do.")
