"""One worker's whole pipeline, encoded bytes to encoded bytes, against the sum of its best stages."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch

from benchmarks.bench_generator import benchmark_translator
from benchmarks.measure import Claim, alternate, at_most
from benchmarks.scenes import PREDICTION, image
from dakpn.config import TranslateConfig
from dakpn.data import codec
from dakpn.data.schema import Sample
from dakpn.inference.shard_job import translate_sample
from dakpn.models.noise import noise_seed
from dakpn.models.whole_image import translate_image

_ROUNDS = 7


def run() -> Iterator[Claim]:
    """GTA5-sized images, JPEG and PNG, one core."""
    torch.set_num_threads(1)
    for format_name in ("jpeg", "png"):
        stages = _stages(format_name)
        seconds = alternate({**stages, "pipeline": _pipeline(format_name)}, _ROUNDS)
        best = sum(seconds[name] for name in stages)
        yield at_most(
            f"pipeline vs the sum of its best stages, {format_name}", 1.25, seconds["pipeline"] / best, **seconds
        )


def _stages(format_name: Literal["jpeg", "png"]) -> dict[str, Callable[[], Any]]:
    pixels = image()
    encoded = codec.encode_image(pixels, format_name)
    translator = benchmark_translator("small")
    params = translator.low_res_params(pixels, "key")
    low = torch.rand(1, 3, *PREDICTION)
    translated = translate_image(translator.predictor.function, pixels, params, noise_seed("key"))
    return {
        "decode": lambda: codec.decode_image(encoded, "benchmark"),
        "resize": lambda: codec.resize_image(pixels, PREDICTION),
        "network": lambda: _predict(translator.predictor, low),
        "function": lambda: translate_image(translator.predictor.function, pixels, params, noise_seed("key")),
        "encode": lambda: codec.encode_image(translated, format_name),
    }


@torch.inference_mode()
def _predict(predictor: torch.nn.Module, low: torch.Tensor) -> None:
    predictor(low)


def _pipeline(format_name: Literal["jpeg", "png"]) -> Callable[[], Any]:
    sample = Sample("key", codec.encode_image(image(), format_name), f"key.{format_name}", None, None)
    config = TranslateConfig(weights="benchmark", input="benchmark", output="benchmark")
    translator = benchmark_translator("small")
    return lambda: translate_sample(translator, config, sample, "benchmark")
