"""Translation gives what it gave: a dataset half made by one version of the code is not a mixture with the next."""

import numpy as np

from dakpn.images import codec
from tests.golden.translated import IMAGE, translated

_EXCEPTIONS = 5e-4
"""Share of values that may be further away: float sums differ between processors, and f is not continuous."""


def test_the_image_is_the_golden_one() -> None:
    golden = codec.decode_image(IMAGE.read_bytes(), str(IMAGE))
    gaps = np.abs(translated().astype(int) - golden)
    assert (gaps > 1).mean() <= _EXCEPTIONS, (
        f"values left the golden image by up to {gaps.max()} grey levels: if translation was meant to change, raise "
        "RESULT_VERSION of dakpn.translation.shard_job, and renew it: python -m tests.golden.translated"
    )
