"""What went wrong at a storage, in one sentence that says what to mend and holds no credential."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from dakpn.errors import StorageError
from dakpn.storage.options import load_options

_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PERMISSIONS = {
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
    "look up": "s3:GetObject and s3:ListBucket",
}
_REJECTED = ("credentials rejected", "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN")
_REGION = ("the bucket is in another region", "set AWS_DEFAULT_REGION to the one it is in")
_CLOCK = ("this machine's clock differs from the server's", "set the clock (NTP)")
_SKEW_S = 15 * 60
"""What S3 lets a clock differ by."""
_BY_CODE = {
    "InvalidAccessKeyId": _REJECTED,
    "SignatureDoesNotMatch": _REJECTED,
    "ExpiredToken": ("credentials rejected: they have expired", "renew them in the environment"),
    "InvalidToken": _REJECTED,
    "TokenRefreshRequired": _REJECTED,
    "NotSignedUp": _REJECTED,
    "NoSuchBucket": ("the bucket does not exist", "create it, or check its name and the endpoint (AWS_ENDPOINT_URL)"),
    "RequestTimeTooSkewed": _CLOCK,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
}
"""Error code of S3: what is wrong, and what to do."""
_BY_TYPE = {
    "NoCredentialsError": ("no credentials found", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    "PartialCredentialsError": ("only a part of the credentials found", "set AWS_SECRET_ACCESS_KEY as well"),
    "SSLError": ("no trusted TLS connection", "check https:// in AWS_ENDPOINT_URL, and the certificates (ca_bundle)"),
}
_BY_ERRNO = {
    errno.ENOSPC: ("{}", "check the path and the free space: the disk is full"),
    errno.EDQUOT: ("{}", "check the path and the free space: the quota is used up"),
    errno.EROFS: ("{}", "choose a path that can be written"),
}


@contextmanager
def explained(action: str, uri: str) -> Iterator[None]:
    """Turn the errors of a storage into a `StorageError` of one sentence.

    Args:
        action: "read", "write", "list", "delete" or "look up".
        uri: What is acted on.
    """
    try:
        yield
    except (OSError, *remote_errors()) as error:
        problem, advice = _describe(error, action, remote=uri.startswith("s3://"))
        raise StorageError(f"cannot {action} {uri}: {problem}; {advice}") from error


def remote_errors() -> tuple[type[Exception], ...]:
    """Return the error types of the S3 client if anything has loaded it: local work should not have to."""
    names = {
        "botocore.exceptions": ("BotoCoreError", "ClientError", "HTTPClientError"),
        "botocore.parsers": ("ResponseParserError",),
        "aiohttp": ("ClientError",),
    }
    loaded = [(sys.modules.get(module), types) for module, types in names.items()]
    return tuple(getattr(module, name) for module, types in loaded if module for name in types)


def s3_answer(error: BaseException | None) -> tuple[str, int]:
    """Return the error code and HTTP status that the server gave; "" and 0 if the error is none of its answers."""
    response = _response(error)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(response.get("Error", {}).get("Code", "")), int(status)


def _response(error: BaseException | None) -> dict[str, Any]:
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return response
        error = error.__cause__
    return {}


def reason(error: Exception) -> str:
    """Return what an error says, on one line and without any credential."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return re.sub(r"//[^/@\s]+@", "//***@", " ".join(text.split())) or type(error).__name__


def _describe(error: Exception, action: str, *, remote: bool) -> tuple[str, str]:
    """Return what is wrong and what to do."""
    code, status = s3_answer(error)
    if known := _BY_CODE.get(code) or _BY_TYPE.get(type(error).__name__):
        # Only what the server says by code, its words may repeat the request.
        return (f"{known[0]} ({code})" if code else f"{known[0]} ({reason(error)})"), known[1]
    if isinstance(error, FileNotFoundError):
        return "it does not exist", "check the path or bucket"
    if isinstance(error, PermissionError):
        if remote and _is_skewed(error):
            return _CLOCK
        allowed = f"ask for {_PERMISSIONS[action]} and check the credentials in the environment"
        return f"access denied ({reason(error)})", allowed if remote else "check its permissions"
    if isinstance(error, OSError) and not remote:
        problem, advice = _BY_ERRNO.get(error.errno or 0, ("{}", "check the path and the free space"))
        return problem.format(reason(error)), advice
    if status >= 500 or status == 429:
        return f"the server kept failing ({code}, {reason(error)})", "try later, or with fewer workers"
    if remote and type(error).__name__ == "EndpointConnectionError" and load_options().addressing_style == "virtual":
        return (
            reason(error),
            "check AWS_ENDPOINT_URL and the network; addressing_style=virtual asks a host of the bucket's name, which "
            "DNS must know: else set it to path",
        )
    return reason(error), "check AWS_ENDPOINT_URL, the network and the credentials in the environment"


def _is_skewed(error: BaseException) -> bool:
    """Tell by the server's date whether the clock is why it refused: an answer to HEAD has no room for a reason."""
    date = _response(error).get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return bool(date) and abs((_now() - parsedate_to_datetime(date)).total_seconds()) > _SKEW_S
    except (ValueError, TypeError):  # no date, or one without a zone
        return False


def _now() -> datetime:
    return datetime.now(UTC)
