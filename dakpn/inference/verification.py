"""Verify an output shard against its input from the two datasets alone, without trusting any manifest."""

import hashlib
from itertools import zip_longest

from dakpn.data import codec
from dakpn.data.shards import read_shard
from dakpn.errors import DakpnError


def shard_differences(source: str, result: str) -> list[str]:
    """Sentences that name every way in which the output shard breaks the label guarantee; none when it holds.

    Checked: the same keys in the same order, labels byte for byte, image sizes, and that each image decodes. The two
    shards go by their URIs (`manifest.shard_uri`) and may differ in format.
    """
    differences: list[str] = []
    try:
        for before, after in zip_longest(read_shard(source), read_shard(result)):
            if before is None:
                differences.append(f"{result}: row {after.key} is missing in the input")
            elif after is None:
                differences.append(f"{result}: row {before.key} is missing in the output")
            elif before.key != after.key:
                differences.append(f"{result}: found row {after.key} where {before.key} was expected")
            else:
                if before.label != after.label:
                    differences.append(
                        f"{result}: the label of {before.key} differs ({_digests(before.label, after.label)})"
                    )
                size = codec.image_size(before.image, before.key)
                if codec.decode_image(after.image, f"{result}: {after.key}").shape[:2] != size:
                    differences.append(f"{result}: the image of {before.key} has another size than the input's")
    except DakpnError as error:
        differences.append(str(error))
    return differences


def _digests(before: bytes | None, after: bytes | None) -> str:
    digests = ["none" if label is None else hashlib.sha256(label).hexdigest()[:12] for label in (before, after)]
    return f"sha256 {digests[0]} in, {digests[1]} out"
