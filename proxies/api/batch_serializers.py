"""Serializers of batches in the REST API."""

from __future__ import annotations

from typing import Any, Final

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from media_files.api.files import LARGEST_ID, StrictSerializer
from proxies.api.proxies import ProfileField
from proxies.models import Batch, BatchItem
from proxies.outcomes import Outcome

# The states as existing callers expect them.
STATUSES: Final = {state: state.upper() for state in Batch.State}
# How many of a list's invalid values an error quotes, and how much of each.
_SHOWN: Final = 3
_SHOWN_CHARACTERS: Final = 40


class IdList(serializers.ListField):
    """A list of positive file ids; an error quotes the invalid values."""

    child = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    default_error_messages = {"not_a_list": "Expected a list of file ids, as [1, 2, 3]; got {input_type}."}

    def to_internal_value(self, data: Any) -> list[Any]:
        # The number first: looking at each of a million values takes seconds.
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)

    def run_child_validation(self, data: list[Any]) -> list[Any]:
        # Skip the validator for valid numbers: running it on a hundred thousand takes seconds.
        if all(type(id_) is int and 0 < id_ <= LARGEST_ID for id_ in data):
            return data
        ids, others = [], []
        for given in data:
            try:
                ids.append(self.child.run_validation(given))
            except ValidationError:
                others.append(given)
        if others:
            raise ValidationError(
                f"Expected file ids, whole numbers from 1, as [1, 2, 3]; got {_listed(others)}."
            )
        return ids


def _listed(values: list[Any]) -> str:
    """Return the first few values, each truncated."""
    shown = ", ".join(repr(value)[:_SHOWN_CHARACTERS] for value in values[:_SHOWN])
    return f"{shown} and {len(values) - _SHOWN} more" if len(values) > _SHOWN else shown


class FilterField(serializers.DictField):
    """Filters by name; in a form as ``filter.type=image``."""

    def get_value(self, dictionary: Any) -> Any:
        value = super().get_value(dictionary)
        # A form without filters yields an empty dictionary, which would select all files.
        return serializers.empty if isinstance(dictionary, QueryDict) and not value else value


class BatchRequestSerializer(StrictSerializer):
    file_ids = IdList(required=False, allow_empty=False, max_length=100_000)
    filter = FilterField(required=False, help_text="The same filters as GET /api/files; {} for all files.")
    force = serializers.BooleanField(default=False)
    dry_run = serializers.BooleanField(default=False)
    profile = ProfileField(default="nova")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("file_ids" in attrs) == ("filter" in attrs):
            raise ValidationError({"file_ids": ["Give either file_ids or filter."]})
        return attrs


class ReasonSerializer(StrictSerializer):
    reason = serializers.CharField(required=False, default="", max_length=255, allow_blank=True)


class NothingSerializer(StrictSerializer):
    """No body, or an empty one."""


class ForecastSerializer(serializers.Serializer[Any]):
    """The 90 % interval of the bytes of the proxies to be made; null if too few exist for an estimate."""

    sample = serializers.IntegerField(help_text="How many proxies it was learned from.")
    low = serializers.IntegerField(allow_null=True)
    high = serializers.IntegerField(allow_null=True)


class OutcomesSerializer(serializers.Serializer[Any]):
    """The outcomes of a run: how many files of each, and their bytes."""

    created = serializers.IntegerField()
    replaced = serializers.IntegerField()
    reused = serializers.IntegerField()
    skipped = serializers.IntegerField()
    failed = serializers.IntegerField()
    quarantined = serializers.IntegerField()
    total = serializers.IntegerField()
    bytes_originals = serializers.IntegerField()


class PlanSerializer(OutcomesSerializer):
    """A preview of a run, in numbers."""

    reasons = serializers.DictField(child=serializers.IntegerField())
    bytes_proxies = serializers.IntegerField(allow_null=True)
    bytes_disk_added = serializers.IntegerField(allow_null=True)
    bytes_not_sent = serializers.IntegerField(allow_null=True)
    forecast = ForecastSerializer()


class DryRunSerializer(serializers.Serializer[Any]):
    dry_run = serializers.BooleanField()
    total_files = serializers.IntegerField()
    plan = PlanSerializer()


class AcceptedSerializer(serializers.Serializer[Any]):
    job_id = serializers.CharField()
    total_files = serializers.IntegerField()
    message = serializers.CharField()
    url = serializers.URLField()
    plan = PlanSerializer()


class DelaySerializer(serializers.Serializer[Any]):
    """Files of a batch that wait for the same thing."""

    error = serializers.CharField()
    files = serializers.IntegerField()
    message = serializers.CharField()


class BatchSerializer(serializers.Serializer[Any]):
    """A batch and its progress."""

    id = serializers.IntegerField()
    job_id = serializers.CharField()
    url = serializers.URLField()
    items_url = serializers.URLField()
    operation = serializers.CharField()
    parameters = serializers.DictField()
    state = serializers.ChoiceField(choices=Batch.State.choices)
    paused_reason = serializers.CharField()
    paused_code = serializers.CharField(
        help_text="Of what every file would meet, as budget or access_denied; empty where a person paused it."
    )
    created_by = serializers.CharField(allow_null=True, help_text="The user's name; null for a command.")
    changed_by = serializers.CharField(allow_null=True, help_text="Who last paused, resumed, cancelled ...")
    plan = serializers.DictField(help_text="The preview before its start, with the estimated bytes.")
    spent = serializers.CharField(
        allow_null=True,
        help_text="US dollars that it has cost so far, unusable answers included; null where the operation "
        "costs nothing.",
    )
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="Files in all, by state, and by outcome."
    )
    progress_percent = serializers.FloatField()
    files_per_second = serializers.FloatField(allow_null=True)
    seconds_left = serializers.FloatField(allow_null=True)
    elapsed_seconds = serializers.FloatField()
    delays = DelaySerializer(many=True, help_text="What files wait for before they are tried again.")


class BatchItemSerializer(serializers.ModelSerializer[BatchItem]):
    file_id = serializers.IntegerField(read_only=True)
    outcome = serializers.ChoiceField(
        choices=[*Outcome], allow_blank=True, read_only=True, help_text="Empty until it is done."
    )

    class Meta:
        model = BatchItem
        fields = [
            "id",
            "file_id",
            "state",
            "outcome",
            "reasons",
            "error",
            "message",
            "attempts",
            "finished_at",
        ]
        read_only_fields = fields


class BatchStatusSerializer(serializers.Serializer[Any]):
    """The status that clients of the older API poll."""

    job_id = serializers.CharField()
    status = serializers.ChoiceField(choices=sorted(STATUSES.values()))
    progress_percent = serializers.FloatField()
    total_files = serializers.IntegerField()
    completed_files = serializers.IntegerField(help_text="Done, the failed ones among them.")
    failed_files = serializers.IntegerField()
    current_file = serializers.CharField(allow_null=True)
    elapsed_seconds = serializers.FloatField()
    spent = serializers.CharField(
        allow_null=True,
        help_text="US dollars that it has cost so far, unusable answers included; null where the operation "
        "costs nothing.",
    )
    errors = BatchItemSerializer(
        many=True, help_text="What files wait for, an example of each kind; then the last 100 that failed."
    )  # type: ignore[assignment]
    results = BatchItemSerializer(many=True, help_text="The last 100 that are done.")
