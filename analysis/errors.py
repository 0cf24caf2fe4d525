"""The named errors of an analysis, of the family that every door knows how to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from media_files.errors import MediaError, StorageError


class AnalysisError(MediaError):
    """An analysis that could not be made.

    Attributes:
        stops_batch: true where every other file would fail alike, so that a batch pauses instead.
    """

    http_status = 422
    stops_batch: ClassVar[bool] = False


class NotConfigured(AnalysisError):
    """Something has to be set before any file can be analysed."""

    code = "not_configured"
    http_status = 409
    stops_batch = True


class NoBucket(NotConfigured):
    """The file lies in no bucket, and there is no analysis bucket to put it into."""

    code = "no_bucket"


class WrongRegion(NotConfigured):
    """The file's bucket is in another region than the service that would read it."""

    code = "wrong_region"


class BudgetUsedUp(AnalysisError):
    """Single requests have cost what they may cost in a day."""

    code = "budget"
    http_status = 409


class ImageTooSmall(AnalysisError):
    """A side is shorter than the service reads."""

    code = "too_small"
    blames_file = True


class AnalysisBusy(AnalysisError):
    """The same question about the same bytes is being asked this moment."""

    code = "busy"
    http_status = 503
    transient = True


@dataclass(frozen=True, slots=True)
class Paid:
    """What a provider answered and counted, where its answer cannot be used.

    Attributes:
        raw: the answer as it came.
        input_tokens: as the provider reported them.
        output_tokens: as the provider reported them.
    """

    raw: dict[str, Any] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0


class ProviderError(AnalysisError):
    """A provider's failure: ``transient`` says whether to try again or to give up.

    Attributes:
        paid: what came with it, where an answer did.
    """

    code = "provider"

    def __init__(self, message: str, *, paid: Paid | None = None) -> None:
        super().__init__(message)
        self.paid = paid


class Throttled(ProviderError):
    """More calls than the account may make."""

    code = "throttled"
    http_status = 503
    transient = True


class ProviderUnavailable(ProviderError):
    """The service is down, overloaded or cannot be reached."""

    code = "provider_unavailable"
    http_status = 503
    transient = True


class ProviderTimeout(ProviderError):
    """No answer within the time that a call may take."""

    code = "provider_timeout"
    http_status = 503
    transient = True


class AccessDenied(ProviderError):
    """The credentials are wrong, or may not do this."""

    code = "access_denied"
    http_status = 409
    stops_batch = True


class ServiceNotConfigured(NotConfigured, ProviderError):
    """The service refuses the model or the parameters that the settings name."""


class ServiceWrongRegion(WrongRegion, ProviderError):
    """The service is not available in the region, or cannot read a bucket of another one."""


class QuotaReached(ProviderError):
    """A quota that does not refill within minutes, such as tokens per day, is used up."""

    code = "quota"
    http_status = 409
    stops_batch = True


class ModelMissing(ProviderError):
    """The model or its version is not there, or not running."""

    code = "model_missing"
    http_status = 409
    stops_batch = True


class RequestRejected(ProviderError):
    """The service refuses this image or this question."""

    code = "rejected"


class ObjectMissing(ProviderError):
    """The service cannot read the object it was pointed at."""

    code = "object_missing"


class ProxyDamaged(StorageError):
    """The proxy's file is missing or has other bytes than recorded. The next try makes it again."""


class CopyMissing(ObjectMissing):
    """Our copy is no longer in the analysis bucket. The next try puts it there again."""

    transient = True
    http_status = 503


class MalformedOutput(ProviderError):
    """The model's answer is not of the form that was asked for."""

    code = "malformed_output"


class OutputTruncated(ProviderError):
    """The answer ended at the most tokens it may have."""

    code = "max_tokens"


class ContentFiltered(ProviderError):
    """The service withheld the answer."""

    code = "content_filtered"
    blames_file = True
