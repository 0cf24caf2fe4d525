"""Map service errors to our errors: one table from code and message to error class and remedy.

The services reuse a few codes for everything: Bedrock returns ``ValidationException`` for an unknown model,
an unreadable S3 object and a damaged picture alike, so the message decides. The first matching rule wins.

Sources: botocore's models bedrock-runtime 2023-09-30 and rekognition 2016-06-27; Bedrock user guide,
"Troubleshooting Amazon Bedrock API error codes"; AWS general reference, "Common errors"; November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from analysis.errors import (
    AccessDenied,
    ModelMissing,
    ObjectMissing,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    QuotaReached,
    RequestRejected,
    ServiceNotConfigured,
    ServiceWrongRegion,
    Throttled,
)

BEDROCK: Final = "bedrock-runtime"
REKOGNITION: Final = "rekognition"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. An empty condition matches everything.

    Attributes:
        error: the class to raise.
        remedy: one sentence.
        codes: the service's error codes.
        words: regular expression searched for in the message, ignoring case.
        service: boto3's service name.
        statuses: HTTP statuses, for codes that are not listed.
    """

    error: type[ProviderError]
    remedy: str
    codes: Iterable[str] = ()
    words: str = ""
    service: str = ""
    statuses: Iterable[int] = ()

    def matches(self, service: str, code: str, words: str, status: int) -> bool:
        return (
            self.service in ("", service)
            and (not self.codes or code in self.codes)
            and (not self.statuses or status in self.statuses)
            and (not self.words or re.search(self.words, words, re.IGNORECASE) is not None)
        )


_PROFILE = (
    "Set NOVAPROXY_ANALYSIS_MODEL to an inference profile of the region, such as us.amazon.nova-2-lite-v1:0."
)
_MODEL = "Check NOVAPROXY_ANALYSIS_MODEL and the region."
_READABLE = (
    "Check that the object exists, that its bucket is in the service's region, and that the credentials may "
    "read it (s3:GetObject, and kms:Decrypt if it is encrypted)."
)
_ACCESS = (
    "Check that the credentials may call the service, and that the model is enabled for the account in this "
    "region."
)
_RENEW = "Check the credentials, and renew them if they have expired."
_CLOCK = "Set this machine's clock: AWS refuses requests that are more than five minutes off."
_LATER = "The request is worth another try."

_INVALID: Final = frozenset({"ValidationException"})
_THROTTLED: Final = frozenset(
    {
        "ThrottlingException", "ModelNotReadyException", "ProvisionedThroughputExceededException",
        "TooManyRequestsException", "LimitExceededException", "RequestLimitExceeded",
        "Throttling", "SlowDown",
    }
)  # fmt: skip
_SIGNATURE: Final = frozenset(
    {"InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired"}
)
_CREDENTIALS: Final = frozenset(
    {
        "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch",
        "ExpiredTokenException", "ExpiredToken", "InvalidToken", "InvalidClientTokenId", "InvalidAccessKeyId",
        "IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken",
        "MissingAuthenticationTokenException", "InvalidIdentityToken",
    }
)  # fmt: skip
_DENIED: Final = frozenset(
    {
        "AccessDeniedException",
        "AccessDenied",
        "NotAuthorized",
        "OptInRequired",
        "SubscriptionRequiredException",
    }
)
_UNAVAILABLE: Final = frozenset(
    {
        "InternalServerException", "InternalServerError", "ServiceUnavailableException",
        "ServiceUnavailable", "ModelErrorException", "InternalFailure",
    }
)  # fmt: skip

RULES: Final = (
    # -- Quotas --
    Rule(
        QuotaReached,
        "Resume when the day is over (UTC), or request a higher quota in the Service Quotas console.",
        words=r"\b(tokens|requests) per (day|month)\b|\bdaily\b.*\b(limit|quota|tokens)\b",
    ),
    Rule(
        QuotaReached,
        "Request a higher quota in the Service Quotas console.",
        codes=("ServiceQuotaExceededException",),
    ),
    Rule(Throttled, "Call less often, or request a higher quota.", codes=_THROTTLED),
    Rule(
        ProviderTimeout, _LATER, codes=("ModelTimeoutException", "RequestTimeout", "RequestTimeoutException")
    ),
    # -- Credentials and region --
    Rule(AccessDenied, _CLOCK, codes=_SIGNATURE, words=r"expired|not yet current|skew|too large.*time"),
    Rule(AccessDenied, _CLOCK, codes=("RequestTimeTooSkewed", "RequestExpired")),
    Rule(
        ServiceWrongRegion,
        "Set NOVAPROXY_ANALYSIS_REGION to the region of the endpoint.",
        codes=_SIGNATURE,
        words=r"scoped to (a|correct)\b.*region",
    ),
    Rule(AccessDenied, _RENEW, codes=_CREDENTIALS),
    Rule(
        AccessDenied,
        "The account may not use Bedrock yet: ask AWS Support to enable it.",
        codes=_INVALID,
        words=r"operation not allowed",
    ),
    Rule(
        AccessDenied,
        "Enable the model for the account in the Bedrock console.",
        codes=("ResourceNotFoundException", "ValidationException"),
        words=r"use case details|access to (the|this) model|not authorized to (invoke|access)",
    ),
    # -- Objects in S3 --
    Rule(ObjectMissing, _READABLE, codes=("InvalidS3ObjectException",)),
    Rule(
        ServiceWrongRegion,
        "Set NOVAPROXY_ANALYSIS_REGION to the bucket's region, or NOVAPROXY_ANALYSIS_SEND=bytes.",
        codes=_INVALID,
        words=r"bucket.*(different|another|same|wrong) region|PermanentRedirect",
    ),
    Rule(
        AccessDenied,
        _READABLE,
        codes=_INVALID,
        words=r"s3\b.*(access denied|denied|forbidden|credentials|not authorized|permission)"
        r"|(access denied|forbidden|not authorized|permission).*\bs3\b|bucket ?owner",
    ),
    Rule(ObjectMissing, _READABLE, codes=_INVALID, words=r"\bs3|\bbucket\b"),
    # -- Model and parameters --
    Rule(ModelMissing, _PROFILE, codes=_INVALID, words=r"on-demand throughput|inference profile"),
    Rule(
        ModelMissing,
        _PROFILE,
        codes=_INVALID,
        words=r"model identifier|model id(entifier)? .*(invalid|not found|not exist|not supported)"
        r"|invalid model|end of its life|provided model",
    ),
    Rule(
        ServiceNotConfigured,
        "Choose a model in NOVAPROXY_ANALYSIS_MODEL that accepts tools and images.",
        codes=_INVALID,
        words=r"tool ?(choice|config|use)\b|(does ?n.t|does not|not) support.*"
        r"\b(tools?|images\b(?! (larger|with|of|in))|image (input|content|block)s?|system|vision|multimodal"
        r"|converse|action)\b",
    ),
    Rule(
        ServiceNotConfigured,
        "Change NOVAPROXY_ANALYSIS_MAX_TOKENS, _TEMPERATURE, _REASONING or _SERVICE_TIER to what the model "
        "accepts.",
        codes=_INVALID,
        words=r"max(imum)? ?tokens|temperature|reasoning|inference ?config|service ?tier"
        r"|malformed input request",
    ),
    Rule(
        ModelMissing,
        "Check NOVAPROXY_ANALYSIS_CUSTOM_MODELS.",
        codes=("InvalidParameterException", "ResourceNotFoundException", "ResourceNotReadyException"),
        words=r"project ?version|custom",
        service=REKOGNITION,
    ),
    Rule(
        ModelMissing,
        "Start the custom labels model, and check NOVAPROXY_ANALYSIS_CUSTOM_MODELS.",
        codes=("ResourceNotReadyException",),
    ),
    Rule(ModelMissing, _MODEL, codes=("ResourceNotFoundException",)),
    Rule(
        ServiceWrongRegion,
        "Set NOVAPROXY_ANALYSIS_REGION to a region that has the service.",
        codes=("UnknownOperationException", "InvalidAction", "UnknownEndpoint"),
    ),
    Rule(AccessDenied, _ACCESS, codes=_DENIED),
    # -- The service itself --
    Rule(ProviderUnavailable, _LATER, codes=_UNAVAILABLE),
    Rule(AccessDenied, _ACCESS, statuses=(401, 403)),
    Rule(ModelMissing, _MODEL, statuses=(404,)),
    Rule(ProviderTimeout, _LATER, statuses=(408,)),
    Rule(Throttled, "Call less often, or request a higher quota.", statuses=(429,)),
    Rule(ProviderUnavailable, _LATER, statuses=range(500, 600)),
    Rule(RequestRejected, "It would be refused again: change the picture or the question."),
)


def named_fault(service: str, code: str, words: str, status: int) -> ProviderError:
    """Return our error for a service's error response.

    Args:
        service: boto3's service name.
        code: the service's error code.
        words: the service's message, which is untrusted text.
        status: HTTP status.
    """
    rule = next(rule for rule in RULES if rule.matches(service, code, words, status))
    return rule.error(f"{service} answered {code}: {words.removesuffix('.')}. {rule.remedy}")
