"""Errors of an analysis. As subclasses of `MediaError`, every interface can show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from media_files.errors import MediaError, StorageError


class AnalysisError(MediaError):
    """An analysis failed.

    Attributes:
        stops_batch: whether every other file would fail the same way, so the batch pauses instead.
    """

    http_status = 422
    stops_batch: ClassVar[bool] = False


class NotConfigured(AnalysisError):
    """A setting is missing without which no file can be analysed."""

    code = "not_configured"
    http_status = 409
    stops_batch = True


class NoBucket(NotConfigured):
    """The file is not stored in a bucket, and there is no analysis bucket to copy it to."""

    code = "no_bucket"


class WrongRegion(NotConfigured):
    """The file's bucket and the service that would read it are in different regions."""

    code = "wrong_region"


class BudgetUsedUp(AnalysisError):
    """The daily budget for single requests is used up."""

    code = "budget"
    http_status = 409


class ImageTooSmall(AnalysisError):
    """A side is shorter than the service's minimum."""

    code = "too_small"
    blames_file = True


class AnalysisBusy(AnalysisError):
    """The same request about the same bytes is in progress."""

    code = "busy"
    http_status = 503
    transient = True


@dataclass(frozen=True, slots=True)
class Paid:
    """An unusable answer and the tokens the provider counted for it.

    Attributes:
        raw: the unmodified answer.
        input_tokens: as reported by the provider.
        output_tokens: as reported by the provider.
    """

    raw: dict[str, Any] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0


class ProviderError(AnalysisError):
    """A provider failed; ``transient`` decides whether to retry.

    Attributes:
        paid: the unusable answer, if there was one.
    """

    code = "provider"

    def __init__(self, message: str, *, paid: Paid | None = None) -> None:
        super().__init__(message)
        self.paid = paid


class Throttled(ProviderError):
    """The account exceeded its rate of calls."""

    code = "throttled"
    http_status = 503
    transient = True


class ProviderUnavailable(ProviderError):
    """The service is down, overloaded or unreachable."""

    code = "provider_unavailable"
    http_status = 503
    transient = True


class ProviderTimeout(ProviderError):
    """The service did not answer within the timeout."""

    code = "provider_timeout"
    http_status = 503
    transient = True


class AccessDenied(ProviderError):
    """The credentials are invalid or lack a permission."""

    code = "access_denied"
    http_status = 409
    stops_batch = True


class ServiceNotConfigured(NotConfigured, ProviderError):
    """The service rejects the configured model or parameters."""


class ServiceWrongRegion(WrongRegion, ProviderError):
    """The service is not available in the region, or cannot read a bucket in another region."""


class QuotaReached(ProviderError):
    """A quota that does not reset within minutes, such as tokens per day, is used up."""

    code = "quota"
    http_status = 409
    stops_batch = True


class ModelMissing(ProviderError):
    """The model or its version does not exist or is not running."""

    code = "model_missing"
    http_status = 409
    stops_batch = True


class RequestRejected(ProviderError):
    """The service rejects this image or question."""

    code = "rejected"


class ObjectMissing(ProviderError):
    """The service cannot read the object in the request."""

    code = "object_missing"


class ProxyDamaged(StorageError):
    """The proxy's file is missing or its bytes differ from the record. The next attempt creates it again."""


class CopyMissing(ObjectMissing):
    """Our copy is no longer in the analysis bucket. The next attempt uploads it again."""

    transient = True
    http_status = 503


class MalformedOutput(ProviderError):
    """The model's answer does not have the requested format."""

    code = "malformed_output"


class OutputTruncated(ProviderError):
    """The answer was cut off at the token limit."""

    code = "max_tokens"


class ContentFiltered(ProviderError):
    """The service withheld the answer."""

    code = "content_filtered"
    blames_file = True
