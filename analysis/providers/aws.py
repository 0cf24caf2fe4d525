"""Calls to AWS: clients made once a process, retries in botocore's standard mode, failures by our names.

boto3 is imported with the first call (0.3 s, 30 MB): an installation that asks no model never loads it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, cast

from analysis.conf import AnalysisConf, conf
from analysis.errors import (
    AccessDenied,
    MalformedOutput,
    ModelMissing,
    NotConfigured,
    ObjectMissing,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRejected,
    Throttled,
)
from analysis.results import kept

# Tries of one call in all. What is still throttled then comes back through the ledger, later each time.
ATTEMPTS: Final = 4
CONNECT_TIMEOUT: Final = 10
# Seconds after which a try that failed is not followed by another at once: slow ones together would outlast
# the time that the queue gives a task.
QUICK: Final = 5.0
# Seconds for which it is remembered whether there are credentials: looking may ask a server.
_REMEMBERED: Final = 60

# The services' own names of their errors, from botocore's models bedrock-runtime 2023-09-30 and
# rekognition 2016-06-27, and those of AWS in general.
_THROTTLED: Final = frozenset(
    {
        "ThrottlingException", "ModelNotReadyException", "ProvisionedThroughputExceededException",
        "TooManyRequestsException", "LimitExceededException", "RequestLimitExceeded",
    }
)  # fmt: skip
_UNAVAILABLE: Final = frozenset(
    {
        "InternalServerException", "InternalServerError", "ServiceUnavailableException",
        "ModelErrorException", "InternalFailure",
    }
)  # fmt: skip
_TIMEOUT: Final = frozenset({"ModelTimeoutException", "RequestTimeout", "RequestTimeoutException"})
_DENIED: Final = frozenset(
    {
        "AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "InvalidSignatureException",
        "SignatureDoesNotMatch", "ExpiredTokenException", "ExpiredToken", "InvalidClientTokenId",
        "IncompleteSignature", "MissingAuthenticationTokenException", "OptInRequired",
    }
)  # fmt: skip
_FAILED: Final = 300
# When the try began that a thread is in.
_current = threading.local()
_MISSING: Final = frozenset({"ResourceNotFoundException", "ResourceNotReadyException"})


def call(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """One call with its retries; its answer without botocore's own additions.

    Raises:
        ProviderError: whatever went wrong, by its name.
        NotConfigured: there are no credentials, or there is no region.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    try:
        method = getattr(client(service), operation)
        answer: dict[str, Any] = method(**parameters)
    except ClientError as error:
        raise _answered(service, error.response) from error
    except (ResponseParserError, AttributeError, TypeError, ValueError) as error:
        # botocore's parser takes it for granted that an answer has the service's shape.
        raise MalformedOutput(f"{service} answered what is no answer of its: {error}.") from error
    except BotoCoreError as error:
        raise _unanswered(service, error) from error
    answer.pop("ResponseMetadata", None)
    return cast("dict[str, Any]", kept(answer))


def client(service: str) -> Any:
    """This process's client of a service; threads share it. Made after a fork, never before."""
    return _client(service, conf(), os.getpid())


@lru_cache(maxsize=8)
def _client(service: str, settings: AnalysisConf, pid: int) -> Any:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    made = boto3.session.Session().client(
        service,  # type: ignore[call-overload]
        region_name=settings.region or None,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            # A model may think for longer than the 60 s that botocore waits.
            read_timeout=settings.timeout,
            max_pool_connections=settings.calls_in_flight,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        ),
    )
    name = made.meta.service_model.service_id.hyphenize()
    made.meta.events.register_first(f"before-send.{name}", _begin)
    made.meta.events.register_first(f"needs-retry.{name}", _once)
    return made


def _begin(**kwargs: Any) -> None:
    """A try begins."""
    _current.began = time.monotonic()


def _once(response: Any = None, caught_exception: Exception | None = None, **kwargs: Any) -> None:
    """What botocore does not send again, as it would: the ledger does, later, where it is counted.

    A call that was sent and not answered in time may have been paid for; one that failed slowly would fail so
    again.
    """
    from botocore.exceptions import ClientError, ReadTimeoutError  # noqa: PLC0415

    is_slow = time.monotonic() - _current.began > QUICK
    if caught_exception is not None and (is_slow or isinstance(caught_exception, ReadTimeoutError)):
        raise caught_exception
    if is_slow and response is not None and response[0].status_code >= _FAILED:
        raise ClientError(response[1], "call")


def region() -> str:
    """The region of the services; empty where nobody has set one."""
    if conf().region:
        return conf().region
    import botocore.session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        return str(botocore.session.get_session().get_config_variable("region") or "")
    except (BotoCoreError, OSError):  # a profile or a file that is not there: `missing_setup` says so
        return ""


def missing_setup() -> list[str]:
    """What has to be set before anything can be asked, one sentence each; nothing when all is there."""
    return _missing_setup(conf(), int(time.monotonic() // _REMEMBERED))


@lru_cache(maxsize=2)
def _missing_setup(settings: AnalysisConf, minute: int) -> list[str]:
    import botocore.session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    missing = []
    if not region():
        missing.append(
            "No AWS region is set: set NOVAPROXY_ANALYSIS_REGION (or AWS_DEFAULT_REGION), "
            "us-east-1 for instance."
        )
    try:
        found: Any = botocore.session.get_session().get_credentials()
    except (BotoCoreError, OSError) as error:
        return [*missing, f"The AWS credentials cannot be read: {str(error).removesuffix('.')}."]
    if found is None and not os.environ.get("AWS_BEARER_TOKEN_BEDROCK"):
        missing.append(
            "No AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or run on a machine that has a role."
        )
    return missing


def require_setup() -> None:
    """Nothing, where calls can be made.

    Raises:
        NotConfigured: the message says what to set.
    """
    if missing := missing_setup():
        raise NotConfigured(" ".join(missing))


# -- Failures --------------------------------------------------------------------------------------


def _answered(service: str, response: Any) -> ProviderError:
    """The named error for an answer that is one."""
    code = str(response.get("Error", {}).get("Code", ""))
    words = str(kept(response.get("Error", {}).get("Message", ""))) or code
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{service} answered {code}: {words}"
    for make, applies in _kinds(code, words, status):
        if applies:
            return make(said)
    return RequestRejected(f"{said} It would answer so again; the picture or the question must change.")


def _kinds(code: str, words: str, status: int) -> list[tuple[Callable[[str], ProviderError], bool]]:
    """(what to make of what it said, whether that applies), the surest first."""
    # Converse has no error of its own for an object that it cannot read: it is a ValidationException.
    about_s3 = code == "ValidationException" and "s3" in words.lower()
    return [
        (lambda said: Throttled(f"{said} Ask less often, or have the quota raised."), code in _THROTTLED),
        (lambda said: ProviderTimeout(f"{said} It is worth another try."), code in _TIMEOUT),
        (
            lambda said: AccessDenied(
                f"{said} Check the credentials, that they may call the service, and that the model is "
                "enabled for the account in this region."
            ),
            code in _DENIED or status == 403,
        ),
        (lambda said: ModelMissing(f"{said} Check the model's id and the region."), code in _MISSING),
        (
            lambda said: ObjectMissing(
                f"{said} Check that the object is there, that its bucket is in the service's region, and "
                "that the service may read it."
            ),
            code == "InvalidS3ObjectException" or about_s3,
        ),
        (Throttled, status == 429),
        (
            lambda said: ProviderUnavailable(f"{said} It is worth another try."),
            code in _UNAVAILABLE or status >= 500,
        ),
    ]


def _unanswered(service: str, error: Exception) -> ProviderError | NotConfigured:
    """The named error for a call that came to no answer."""
    from botocore import exceptions  # noqa: PLC0415

    unset = (
        exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError,
        exceptions.CredentialRetrievalError, exceptions.ProfileNotFound, exceptions.InvalidRegionError,
    )  # fmt: skip
    if isinstance(error, unset):
        return NotConfigured(f"{service} cannot be asked: {error}. {' '.join(missing_setup())}".strip())
    if isinstance(error, exceptions.ReadTimeoutError | exceptions.ConnectTimeoutError):
        return ProviderTimeout(
            f"{service} did not answer within {conf().timeout} s (NOVAPROXY_ANALYSIS_TIMEOUT). "
            "It is worth another try."
        )
    if isinstance(error, exceptions.ParamValidationError):
        return RequestRejected(f"{service} takes no such request: {error}")
    return ProviderUnavailable(f"{service} cannot be reached: {error}. It is worth another try.")
