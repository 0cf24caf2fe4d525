"""REST API mixins for analyses; the site combines them with those for files and batches."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from analysis.api_errors import AnalysisFaultSerializer
from analysis.erasure import forget
from analysis.errors import NotConfigured
from analysis.models import Analysis
from analysis.options import BUDGET_DIGITS, BUDGET_PLACES, Run, parameters_of
from analysis.providers import get, names
from analysis.providers.base import Options
from analysis.providers.nova import LONGEST_QUESTION
from analysis.queries import matching_text, with_label
from analysis.readiness import readiness
from analysis.services import AnalysisService
from media_files.api.files import StrictFilterSet, StrictSerializer
from media_files.models import MediaFile
from proxies.api.batch_serializers import (
    AcceptedSerializer,
    BatchRequestSerializer,
    DryRunSerializer,
    OutcomesSerializer,
)
from proxies.api.batches import ProxyBatchViewSet
from proxies.api.proxies import ProfileField
from proxies.outcomes import NEEDS_WORK, Outcome

_OUTCOMES = [Outcome.CREATED, Outcome.REPLACED, Outcome.REUSED]


class AnalysisSerializer(serializers.ModelSerializer[Analysis]):
    """A request to a model, the image sent, and the answer. The answer is unverified text."""

    file_id = serializers.IntegerField(read_only=True)
    proxy_id = serializers.IntegerField(read_only=True, allow_null=True)
    reused_from_id = serializers.IntegerField(read_only=True, allow_null=True)
    result = serializers.DictField(read_only=True)
    usage = serializers.DictField(read_only=True)

    class Meta:
        model = Analysis
        fields = [
            "id", "file_id", "provider", "model", "model_version", "request_version", "question", "profile",
            "sent", "proxy_id", "sha256", "bytes", "width", "height", "status", "result", "usage", "cost",
            "price_date", "price_source", "latency", "error", "message", "is_newest", "reused_from_id",
            "created_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields


class AnalyzedSerializer(serializers.Serializer[Any]):
    """The result for one file."""

    outcome = serializers.ChoiceField(choices=_OUTCOMES)
    analyses = AnalysisSerializer(many=True)


class OptionsSerializer(StrictSerializer):
    """The provider, and the question or features."""

    provider = serializers.ChoiceField(choices=[(name, name) for name in names()], default="nova")
    question = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=LONGEST_QUESTION,
        help_text="A question for Nova that replaces the usual description.",
    )
    features = serializers.ListField(
        child=serializers.CharField(max_length=64),
        default=list,
        max_length=10,
        help_text="Of Rekognition; those of the settings where none is named.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        options = Options(attrs["question"], tuple(attrs["features"]))
        try:
            get(attrs["provider"]).requests(options)
        except ValueError as error:
            key = "question" if attrs["question"] else "features"
            raise ValidationError({key: [str(error)]}) from error
        except NotConfigured:
            pass  # not the body's fault: the view reports it
        return {**attrs, "wishes": options}


class AnalyzeSerializer(OptionsSerializer):
    profile = ProfileField(default="nova")
    force = serializers.BooleanField(
        default=False, help_text="Ask again what was answered before, and pay for it again."
    )


class BudgetField(serializers.DecimalField):
    """A budget in US dollars at which the batch pauses; null for the default in the settings."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_digits=BUDGET_DIGITS, decimal_places=BUDGET_PLACES, min_value=0, allow_null=True, **kwargs
        )


class AnalyzeBatchSerializer(OptionsSerializer, BatchRequestSerializer):
    max_cost = BudgetField(
        default=None,
        help_text="US dollars, at which the batch pauses; those of the settings where none is given.",
    )


class ResumeSerializer(StrictSerializer):
    max_cost = BudgetField(
        required=False, help_text="A new budget for analyses, what is spent already included."
    )


class AnalysisPlanSerializer(OutcomesSerializer):
    """A preview of the outcomes and the cost."""

    calls = serializers.IntegerField(help_text="To be paid for.")
    calls_saved = serializers.IntegerField(help_text="Answered before, for the same bytes.")
    proxies_to_make = serializers.IntegerField()
    bytes_to_send = serializers.IntegerField()
    cost = serializers.CharField(allow_null=True, help_text="US dollars, expected.")
    cost_at_most = serializers.CharField(allow_null=True)
    budget = serializers.CharField(allow_null=True)
    price_date = serializers.DateField(allow_null=True)
    price_source = serializers.CharField()
    missing = serializers.ListField(
        child=serializers.CharField(), help_text="Settings that are missing before analysis can run."
    )


class AnalysisDryRunSerializer(DryRunSerializer):
    plan = AnalysisPlanSerializer()  # type: ignore[assignment]


class AnalysisAcceptedSerializer(AcceptedSerializer):
    plan = AnalysisPlanSerializer()  # type: ignore[assignment]


class AnalysisFilterMixin(StrictFilterSet):
    label = filters.CharFilter(method="filter_label", help_text="A label or object that a model found.")
    q = filters.CharFilter(
        method="filter_words", help_text="Words of a caption, of labels, or of text in the picture."
    )

    def filter_label(self, files: QuerySet[MediaFile], name: str, value: str) -> QuerySet[MediaFile]:
        return files.filter(with_label(value))

    def filter_words(self, files: QuerySet[MediaFile], name: str, value: str) -> QuerySet[MediaFile]:
        return files.filter(matching_text(value))


class AnalysisActionsMixin(viewsets.GenericViewSet[MediaFile]):
    """Analyses of a file."""

    @extend_schema(request=AnalyzeSerializer, responses={200: AnalyzedSerializer, 201: AnalyzedSerializer})
    @action(detail=True, methods=["post"])
    def analyze(self, request: Request, pk: str | None = None) -> Response:
        """Analyze this file now and return the answers. Existing answers are reused at no cost."""
        body = AnalyzeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        service = AnalysisService(
            wanted["provider"], profile=wanted["profile"], force=wanted["force"], options=wanted["wishes"]
        )
        result = service.analyze(self.get_object())
        if result.error is not None:
            raise result.error
        asked = result.outcome in NEEDS_WORK
        return Response(
            {"outcome": result.outcome, "analyses": AnalysisSerializer(result.analyses, many=True).data},
            status=status.HTTP_201_CREATED if asked else status.HTTP_200_OK,
        )

    @extend_schema(request=None, responses={204: None})
    @action(detail=True, methods=["post"])
    def forget(self, request: Request, pk: str | None = None) -> Response:
        """Delete this file immediately, with all answers about its bytes and all copies sent to models."""
        forget(self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=AnalysisSerializer(many=True), filters=False)
    @action(detail=True)
    def analyses(self, request: Request, pk: str | None = None) -> Response:
        """List the analyses of this file, newest first, including failed and superseded ones."""
        found = Analysis.objects.filter(file=self.get_object())
        page = cast("list[Analysis]", self.paginate_queryset(cast(Any, found)))
        return self.get_paginated_response(AnalysisSerializer(page, many=True).data)


@extend_schema_view(resume=extend_schema(request=ResumeSerializer))
class AnalysisBatchMixin(ProxyBatchViewSet):
    """Analyses of many files."""

    resume_body = ResumeSerializer
    further_errors = {**ProxyBatchViewSet.further_errors, "analyze": {409: AnalysisFaultSerializer}}

    @extend_schema(
        request=AnalyzeBatchSerializer,
        responses={202: AnalysisAcceptedSerializer, 200: AnalysisDryRunSerializer},
    )
    @action(detail=False, methods=["post"])
    def analyze(self, request: Request) -> Response:
        """Analyze many files; with ``dry_run``, only return a preview of the outcomes and the cost."""
        body = AnalyzeBatchSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        parameters = parameters_of(
            force=wanted["force"],
            profile=wanted["profile"],
            question=wanted["question"],
            features=wanted["features"],
            max_cost=wanted["max_cost"],
        )
        _require_setup(Run.of(wanted["provider"], parameters), dry_run=wanted["dry_run"])
        return self.start(f"analyze-{wanted['provider']}", wanted, parameters)


def _require_setup(run: Run, *, dry_run: bool) -> None:
    """Check that the batch would not pause at once, as far as is known now.

    A dry run also works without credentials and prices, and lists which are missing.

    Raises:
        NotConfigured: the message names the settings to fix.
    """
    run.provider.requests(run.options)
    if dry_run:
        return
    if missing := readiness.missing():
        raise NotConfigured(" ".join(missing))
    run.require_price()
