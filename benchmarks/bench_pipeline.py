"""One worker's whole pipeline with the recipe that is shipped: against the sum of its best stages, and the codecs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import torch

from benchmarks.measure import Claim, alternate, at_most
from benchmarks.recipes import SHIPPED, encoded_label, shipped_translator
from benchmarks.scenes import image
from dakpn.config import TranslateConfig
from dakpn.datasets.schema import Sample
from dakpn.images import codec
from dakpn.models.function.apply import translate_image
from dakpn.models.function.noise import noise_seed
from dakpn.translation.shard_job import translate_sample

_ROUNDS = 7
_CODECS = ("decode", "label", "encode")
_PNG_CODECS_MS = 45
"""Of one core, on the machine whose figures are the targets: 75 ms from pixels to pixels, 8 of them for params."""


def run() -> Iterator[Claim]:
    """GTA5-sized images with labels, JPEG and PNG, one core."""
    torch.set_num_threads(1)
    for format_name in ("jpeg", "png"):
        stages = _stages(format_name)
        work = {**stages, "translator": _translator(), "pipeline": _pipeline(format_name)}
        seconds = alternate(work, _ROUNDS)
        best = sum(seconds[name] for name in stages)
        claim = f"{SHIPPED}: pipeline vs the sum of its best stages, {format_name}"
        yield at_most(claim, 1.25, seconds["pipeline"] / best, **seconds)
        if format_name == "png":
            codecs = sum(seconds[name] for name in _CODECS)
            claim = f"{SHIPPED}: pixels to translated pixels vs codecs"
            yield at_most(claim, 75 / _PNG_CODECS_MS, seconds["translator"] / codecs, **seconds)
            yield at_most(f"{SHIPPED}: params vs codecs", 8 / _PNG_CODECS_MS, seconds["params"] / codecs, **seconds)


def _stages(format_name: Literal["jpeg", "png"]) -> dict[str, Callable[[], Any]]:
    translator, pixels, label = shipped_translator(), image(), encoded_label()
    encoded, function = codec.encode_image(pixels, format_name), translator.predictor.function
    train_ids = translator.train_ids(label, "benchmark")
    params = translator.low_res_params(pixels, "key", train_ids)
    translated = translate_image(function, pixels, params, noise_seed("key"))
    return {
        "decode": lambda: codec.decode_image(encoded, "benchmark"),
        "label": lambda: codec.decode_label(label, "benchmark"),
        "params": lambda: translator.low_res_params(pixels, "key", train_ids),
        "function": lambda: translate_image(function, pixels, params, noise_seed("key")),
        "encode": lambda: codec.encode_image(translated, format_name),
    }


def _translator() -> Callable[[], Any]:
    translator, pixels = shipped_translator(), image()
    return partial(translator.translate, pixels, "key", translator.train_ids(encoded_label(), "benchmark"))


def _pipeline(format_name: Literal["jpeg", "png"]) -> Callable[[], Any]:
    encoded, label = codec.encode_image(image(), format_name), encoded_label()
    sample = Sample("key", encoded, f"key.{format_name}", label, "key.png")
    config = TranslateConfig(weights="benchmark", input="benchmark", output="benchmark")
    return partial(translate_sample, shipped_translator(), config, sample, "benchmark")
