"""Calls to AWS: one client per process, retries in botocore's standard mode, failures as our errors.

boto3 is imported on the first call (0.3 s, 30 MB); an installation that calls no model never loads it.
"""

from __future__ import annotations

import os
import re
import threading
import time
from functools import lru_cache, partial
from typing import Any, Final, cast

from analysis.conf import AnalysisConf, conf
from analysis.errors import (
    AccessDenied,
    MalformedOutput,
    NotConfigured,
    Paid,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRejected,
    ServiceWrongRegion,
)
from analysis.providers.faults import named_fault
from analysis.results import kept

# Maximum attempts per call. If it is still throttled, the batch retries the item with growing delays.
ATTEMPTS: Final = 4
CONNECT_TIMEOUT: Final = 10
# An attempt that failed after more seconds is not retried at once: several slow attempts would exceed the
# queue's time limit for a task.
QUICK: Final = 5.0
# Seconds to cache whether there are credentials: looking for them may query a server.
_REMEMBERED: Final = 60

_FAILED: Final = 300
# Maximum bytes kept of an answer that cannot be parsed, and the key they are stored under.
_LONGEST_BODY: Final = 1_000_000
UNPARSED: Final = "unparsed"
# Each thread's current call: the start of the attempt, and the response body.
_current = threading.local()


def call(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """Make one call with retries; return the answer without botocore's metadata.

    Raises:
        ProviderError: the call failed; the subclass is the cause.
        NotConfigured: there are no credentials, or there is no region.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    _current.body = b""
    try:
        answer: dict[str, Any] = getattr(_made(service), operation)(**parameters)
    except ClientError as error:
        raise _answered(service, error.response) from error
    except (ResponseParserError, AttributeError, TypeError, ValueError, RecursionError) as error:
        # botocore's parser assumes that every answer has the service's shape and is not deeply nested.
        raise MalformedOutput(
            f"{service} sent an answer that is not in its own format: {error}.", paid=_unparsed(_current.body)
        ) from error
    except BotoCoreError as error:
        raise _unanswered(service, error) from error
    answer.pop("ResponseMetadata", None)
    return cast("dict[str, Any]", kept(answer))


def _unparsed(body: bytes) -> Paid:
    """Return the text and the token counts of a body that cannot be parsed."""
    text = body[:_LONGEST_BODY].decode(errors="replace")
    tokens = [re.search(rb'"%s":\s*(\d{1,9})\b' % name, body) for name in (b"inputTokens", b"outputTokens")]
    counts = [int(found[1]) if found else 0 for found in tokens]
    return Paid({UNPARSED: kept(text)} if text else {}, *counts)


def _made(service: str) -> Any:
    """Return the client.

    Raises:
        NotConfigured: the settings or the AWS configuration do not allow one.
    """
    try:
        return client(service)
    except ValueError as error:
        raise NotConfigured(
            f"{service} cannot be called: {error}. Check AWS_ENDPOINT_URL and the AWS configuration."
        ) from error


def client(service: str) -> Any:
    """Return this process's client for a service, shared by its threads. It must be created after a fork."""
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
    made.meta.events.register_first(f"needs-retry.{name}", partial(_once, service))
    made.meta.events.register_first(f"before-parse.{name}", _remember_body)
    return made


def _begin(**kwargs: Any) -> None:
    """Record the start of an attempt."""
    _current.began = time.monotonic()


def _remember_body(response_dict: Any = None, **kwargs: Any) -> None:
    """Keep the response body: it may fail to parse, and may have been billed."""
    body = response_dict.get("body")
    _current.body = body if isinstance(body, bytes) else b""


def _once(
    service: str, response: Any = None, caught_exception: Exception | None = None, **kwargs: Any
) -> None:
    """Prevent retries by botocore that would be wrong.

    A call that timed out may have been billed, and one that failed slowly would fail slowly again: the batch
    retries both later and counts the attempts. A daily quota does not reset within seconds.
    """
    from botocore.exceptions import ClientError, ReadTimeoutError  # noqa: PLC0415

    is_slow = time.monotonic() - _current.began > QUICK
    if caught_exception is not None and (is_slow or isinstance(caught_exception, ReadTimeoutError)):
        raise caught_exception
    if response is None or response[0].status_code < _FAILED:
        return
    if is_slow or not _answered(service, response[1]).transient:
        raise ClientError(response[1], "call")


def region() -> str:
    """Return the region of the services; empty if none is set."""
    if conf().region:
        return conf().region
    import botocore.session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        return str(botocore.session.get_session().get_config_variable("region") or "")
    except (BotoCoreError, OSError):  # a profile or a file is missing: `missing_setup` reports it
        return ""


def missing_setup() -> list[str]:
    """Return what must be set before any call, one sentence each; empty if nothing is missing."""
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
    """Check that calls can be made.

    Raises:
        NotConfigured: the message names what to set.
    """
    if missing := missing_setup():
        raise NotConfigured(" ".join(missing))


# -- Failures --------------------------------------------------------------------------------------


def _answered(service: str, response: Any) -> ProviderError:
    """Return our error for an error response."""
    error = response.get("Error", {})
    code = str(kept(error.get("Code", "")))
    words = str(kept(error.get("Message", ""))) or code
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return named_fault(service, code, words, status)


def _unanswered(service: str, error: Exception) -> ProviderError | NotConfigured:
    """Return our error for a call without a response."""
    from botocore import exceptions  # noqa: PLC0415

    unset = (
        exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError,
        exceptions.CredentialRetrievalError, exceptions.ProfileNotFound, exceptions.InvalidRegionError,
        exceptions.ConfigNotFound, exceptions.ConfigParseError, exceptions.UnknownServiceError,
        exceptions.MetadataRetrievalError, exceptions.NoAuthTokenError, exceptions.InvalidConfigError,
    )  # fmt: skip
    expired = (exceptions.SSOError, exceptions.TokenRetrievalError, exceptions.RefreshWithMFAUnsupportedError)
    if isinstance(error, expired):
        return AccessDenied(f"{service} cannot be called: {error}. Log in again to renew the credentials.")
    if isinstance(error, unset):
        return NotConfigured(f"{service} cannot be called: {error}. {' '.join(missing_setup())}".strip())
    if isinstance(error, exceptions.EndpointConnectionError) and _is_unsupported(service):
        return ServiceWrongRegion(
            f"{service} is not available in {region()}, as far as botocore knows. Set "
            "NOVAPROXY_ANALYSIS_REGION to a region that has it."
        )
    if isinstance(error, exceptions.ReadTimeoutError | exceptions.ConnectTimeoutError):
        return ProviderTimeout(
            f"{service} did not answer within {conf().timeout} s (NOVAPROXY_ANALYSIS_TIMEOUT). "
            "It is worth another try."
        )
    if isinstance(error, exceptions.ParamValidationError):
        return RequestRejected(f"{service} refuses the request: {error}")
    return ProviderUnavailable(f"{service} cannot be reached: {error}. It is worth another try.")


def _is_unsupported(service: str) -> bool:
    """Return whether botocore knows the service but not in our region."""
    import botocore.session  # noqa: PLC0415

    # botocore lists the regions under "bedrock", not "bedrock-runtime".
    known = botocore.session.get_session().get_available_regions(service.removesuffix("-runtime"))
    return bool(known) and region() not in known
