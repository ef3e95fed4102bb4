"""The files of weights on storage, as bytes: nothing here knows what a tensor is, or loads torch.

A folder of weights holds `model.safetensors`, `config.json` and a model card, and predictor weights their facts
(`weights_facts`). A URI may end in `@sha256:HEX`, the digest that saving returns: then these very weights are meant.
"""

import hashlib
import re

from dakpn import storage
from dakpn.errors import StorageError, WeightsError

TENSORS, CONFIG, CARD, FACTS = "model.safetensors", "config.json", "README.md", "facts.json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def has_weights(uri: str) -> bool:
    """Whether weights lie here, of whatever kind."""
    return storage.exists(storage.join(uri, TENSORS))


def weights_digest(uri: str) -> str:
    """Digest of the weights of either kind in a folder, computed from their bytes.

    Raises:
        WeightsError: they cannot be read, or are others than the URI names.
    """
    folder, expected = split_digest(uri)
    return digest_of(*read_weights(folder, expected))


def copy_weights(uri: str, to: str, digest: str) -> None:
    """Copy weights of either kind, if they are those with this digest.

    Raises:
        WeightsError: they are missing or others.
        StorageError: the copy cannot be written.
    """
    folder, _ = split_digest(uri)
    config, tensors = read_weights(folder, digest)
    for name in (CARD, FACTS):
        beside = storage.join(folder, name)
        if storage.exists(beside):
            storage.write_bytes(storage.join(to, name), storage.read_bytes(beside))
    storage.write_bytes(storage.join(to, CONFIG), config)
    storage.write_bytes(storage.join(to, TENSORS), tensors)


def read_weights(uri: str, expected: str) -> tuple[bytes, bytes]:
    """The bytes of config and tensors.

    Args:
        uri: URI of the folder, without a digest.
        expected: digest that they must have; "" takes any.

    Raises:
        WeightsError: they cannot be read, or have another digest.
    """
    try:
        config = storage.read_bytes(storage.join(uri, CONFIG))
        blob = storage.read_bytes(storage.join(uri, TENSORS))
    except StorageError as error:
        raise unreadable(uri, f"{CONFIG} and {TENSORS} are expected there ({error})") from error
    require_digest(uri, digest_of(config, blob), expected)
    return config, blob


def require_digest(uri: str, digest: str, expected: str) -> None:
    """Raise `WeightsError` if the digest of the weights at `uri` is another than expected; "" takes any."""
    if expected not in ("", digest):
        raise WeightsError(
            f"weights {uri} have the digest {digest}, expected {expected}: they are others than the URI names, or "
            "were changed; find the right ones, or take these by leaving the digest off"
        )


def split_digest(uri: str) -> tuple[str, str]:
    """The URI of the folder, and the digest behind its `@`; "" if there is none.

    Raises:
        WeightsError: what is behind the `@` is no digest.
    """
    folder, at, digest = uri.rpartition("@sha256:")
    if not at:
        return uri, ""
    if not _DIGEST.fullmatch(f"sha256:{digest}"):
        raise WeightsError(f"weights {uri}: got sha256:{digest}, expected sha256: and 64 hexadecimal digits")
    return folder, f"sha256:{digest}"


def digest_of(config: bytes, tensors: bytes) -> str:
    """The digest by which weights are known."""
    return "sha256:" + hashlib.sha256(hashlib.sha256(config).digest() + hashlib.sha256(tensors).digest()).hexdigest()


def unreadable(uri: str, reason: str) -> WeightsError:
    """The error of weights that cannot be used."""
    return WeightsError(f"weights {uri} cannot be used: {reason}; give the `weights` folder of a finished training run")
