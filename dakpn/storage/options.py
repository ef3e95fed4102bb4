"""How to talk to the S3 server: a file of options, with the environment's own variables over it."""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat

from dakpn.config.base import Config, Unit
from dakpn.config_file import build_config, parse_config
from dakpn.errors import ConfigError

OPTIONS_VARIABLE = "DAKPN_STORAGE_OPTIONS"
_VARIABLES = {
    "endpoint_url": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "max_attempts": ("AWS_MAX_ATTEMPTS",),
    "checksums": ("AWS_REQUEST_CHECKSUM_CALCULATION",),
    "ca_bundle": ("AWS_CA_BUNDLE",),
}
"""Field: the variables that win over the file, the first that is set."""
_CREDENTIAL_KEY = re.compile(
    r"""(?:^|[{,\s])["']?([\w.-]*(?:secret|access[_-]?key|token|passw|credential|key[_-]?id)[\w.-]*)["']?\s*:""",
    re.IGNORECASE | re.MULTILINE,
)
_CREDENTIAL_URL = re.compile(r"//[^/\s]*@")


class StorageOptions(Config):
    """Settings of the S3 client. None of them holds a credential, and none may."""

    endpoint_url: Annotated[str, Field(pattern=r"^https?://[^/\s@]+/?$")] | None = Field(
        default=None, description="http(s)://HOST[:PORT] of an S3-compatible server; null is AWS"
    )
    region: str | None = Field(
        default=None, description="region of the bucket; null leaves it to the profile or the platform"
    )
    addressing_style: Literal["path", "virtual"] | None = Field(
        default=None, description="bucket in the path or in the host name; null lets the client choose"
    )
    max_attempts: Annotated[int, Field(ge=1, le=20), Unit("attempts")] = Field(
        default=6, description="attempts at one operation, the first included"
    )
    max_retry_s: Annotated[PositiveFloat, Unit("seconds")] = Field(
        default=120.0, description="time from the start of an operation in which it may be tried again"
    )
    connect_timeout_s: Annotated[PositiveFloat, Unit("seconds")] = Field(
        default=5.0, description="how long the server may take to accept a connection"
    )
    read_timeout_s: Annotated[PositiveFloat, Unit("seconds")] = Field(
        default=30.0, description="how long the server may be silent, before an answer or in the middle of one"
    )
    checksums: Literal["when_required", "when_supported"] = Field(
        default="when_required", description="many S3-compatible servers refuse the newer checksums of when_supported"
    )
    verify_tls: bool = Field(default=True, description="check the server's certificate")
    ca_bundle: str | None = Field(default=None, description="path of the certificates to trust, in PEM")


def load_options() -> StorageOptions:
    """Return the options that hold now: defaults, over them the file, over it the environment.

    Raises:
        ConfigError: The file or a variable does not fit, or the file holds a credential.
    """
    path = os.environ.get(OPTIONS_VARIABLE)
    found = ((field, next(filter(None, map(os.environ.get, names)), None)) for field, names in _VARIABLES.items())
    return _resolved(path, tuple((field, value) for field, value in found if value is not None))


@lru_cache(maxsize=32)
def _resolved(path: str | None, variables: tuple[tuple[str, str], ...]) -> StorageOptions:
    options = _read_file(path) if path else StorageOptions()
    if not variables:
        return options
    values: dict[str, Any] = options.model_dump(exclude_unset=True)
    for field, value in variables:
        if field == "endpoint_url" and _CREDENTIAL_URL.search(value):  # the message must not repeat it
            raise ConfigError(f"{' or '.join(_VARIABLES[field])} holds credentials; set AWS_ACCESS_KEY_ID and so on")
        values[field] = value.lower() if field == "checksums" else value
    names = ", ".join(name for field, _ in variables for name in _VARIABLES[field])
    return build_config(StorageOptions, values, origin=f"storage settings of the environment ({names})")


def _read_file(path: str) -> StorageOptions:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{OPTIONS_VARIABLE} names {path}, which cannot be read ({error}); give the path of a YAML file"
        ) from error
    # On the text, before anything parses it: an error of the parser would quote the line.
    settings = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    key = _CREDENTIAL_KEY.search(settings)
    if key or _CREDENTIAL_URL.search(settings):
        raise ConfigError(
            f"{path} holds a credential ({key[1] if key else 'in a URL'}); take it out and set AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN in the environment"
        )
    return parse_config(StorageOptions, text, origin=path)
