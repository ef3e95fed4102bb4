"""The demo: the whole workflow on one machine, on rendered scenes or on your own folders."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.session import ray_session
from dakpn.config import DemoConfig, EvaluateConfig, TrainConfig, TranslateConfig, VerifyConfig
from dakpn.config_file import load_config
from dakpn.evaluation.contender import OURS, SOURCE_ONLY
from dakpn.report.run_page import ReportInputs
from dakpn.scenes import photograph, render_scene, write_dataset
from dakpn.sources.kinds import ALL_SPLITS
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from workflows import evaluate, report, train, translate, verify

logger = logging.getLogger(__name__)

CONFIGS = Path(__file__).parent / "configs"
_ROWS_PER_SHARD = 50
_WORKERS = 2
_SYNTHETIC_SEED, _REAL_SEED = 10_000, 900_000
_SIMULATED = (
    "The target domain is simulated: scenes of other seeds, rendered with other materials and weather and seen through "
    "a hidden camera. It shows that the workflow works; its numbers say nothing about photographs."
)


@dataclass
class _Demo:
    config: DemoConfig
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        logger.info("== %s", part)
        started = time.perf_counter()
        yield
        self.timings[part] = time.perf_counter() - started

    def uri(self, *parts: str) -> str:
        return str(self.config.out.joinpath(*parts))


@dataclass(frozen=True)
class _Domains:
    """URIs of the packed datasets; `test` is None when nothing can be scored."""

    synthetic: str
    real: str
    test: str | None


def main(config: DemoConfig) -> tuple[list[dict[str, Any]], str]:
    """Pack, train, translate, verify, evaluate, report; every part resumes where an earlier run stopped.

    Returns:
        The evaluation's cells (none when the real images have no labels) and the path of the report.

    Raises:
        UsageError: a folder is missing or not in its preset's layout.
        DataError: an image or label cannot be used.
    """
    demo = _Demo(config)
    _check_sources(config)
    with demo.timed("render and pack"):
        domains = _pack(demo)
    training = load_config(
        TrainConfig,
        CONFIGS / "camvid_demo.yaml",
        [
            f"run={demo.uri('run')}",
            f"synthetic={domains.synthetic}",
            f"real={domains.real}",
            f"workers={config.workers}",
            f"encoder.training.steps={config.encoder_steps}",
            f"adversarial.steps={config.steps}",
        ],
    )
    with ray_session(cpus=max(_WORKERS, 2 * config.workers)):
        with demo.timed("train"):
            weights = train.main(training)
        with demo.timed("translate"):
            job = TranslateConfig(
                weights=weights, input=domains.synthetic, output=demo.uri("translated"), workers=_WORKERS
            )
            translate.main(job)
        with demo.timed("verify"):
            verify.main(VerifyConfig(input=job.input, output=job.output, workers=_WORKERS))
        results = []
        if domains.test:
            with demo.timed("evaluate"):
                results = evaluate.main(_evaluation(demo, domains, domains.test, weights))
    page = report.main(_report_inputs(demo, training), demo.uri("report.html"))
    return results, page


def _check_sources(config: DemoConfig) -> None:
    """Find missing folders and empty datasets before minutes of work."""
    for folder, preset in ((config.synthetic, config.synthetic_dataset), (config.real, config.real_dataset)):
        if folder is not None:
            load_preset(preset).find_pairs(folder, None)


def _pack(demo: _Demo) -> _Domains:
    config = demo.config
    synthetic = config.synthetic or _render(demo, "synthetic", config.synthetic_count, _SYNTHETIC_SEED, render_scene)
    real = config.real
    if real is None:
        real = _render(demo, "real", config.real_count, _REAL_SEED, photograph, split="train")
        _render(demo, "real", config.real_count // 2, _REAL_SEED + config.real_count, photograph, split="val")
    synthetic_preset, real_preset = load_preset(config.synthetic_dataset), load_preset(config.real_dataset)
    pack_dataset(synthetic, demo.uri("data", "synthetic"), synthetic_preset, ALL_SPLITS, _ROWS_PER_SHARD, labelled=True)
    packed = _Domains(demo.uri("data", "synthetic"), demo.uri("data", "real"), demo.uri("data", "real_test"))
    if {"train", "val"} <= set(real_preset.find_splits(real)):
        index = pack_dataset(real, packed.real, real_preset, "train", _ROWS_PER_SHARD)
        if index.labelled:
            pack_dataset(real, demo.uri("data", "real_test"), real_preset, "val", _ROWS_PER_SHARD, labelled=True)
            return packed
    else:
        pack_dataset(real, packed.real, real_preset, ALL_SPLITS, _ROWS_PER_SHARD, labelled=False)
    logger.info("nothing will be scored: that takes labelled real images in the splits train and val")
    return replace(packed, test=None)


def _render(demo: _Demo, name: str, count: int, first_seed: int, renderer, split: str | None = None) -> Path:
    root = demo.config.out / "rendered" / name
    # Files written anew, though of the same bytes, would not count as those that were packed.
    if len(list((root / "labels" / (split or "")).glob("*.png"))) != count:
        write_dataset(root, count, first_seed, renderer, split)
    return root


def _evaluation(demo: _Demo, domains: _Domains, test: str, weights: str) -> EvaluateConfig:
    return load_config(
        EvaluateConfig,
        CONFIGS / "camvid_demo_evaluation.yaml",
        [
            f"output={demo.uri('evaluation')}",
            f"contenders.{SOURCE_ONLY}={{kind: source_only}}",
            f"contenders.{OURS}={{kind: dakpn, weights: {json.dumps(weights)}}}",
            f"synthetic={domains.synthetic}",
            f"oracle={domains.real}",
            f"real_test={test}",
            f"seeds={list(demo.config.seeds)}",
            f"training.steps={demo.config.segmenter_steps}",
            f"workers={_WORKERS}",
        ],
    )


def _report_inputs(demo: _Demo, training: TrainConfig) -> ReportInputs:
    simulated = demo.config.real is None
    return ReportInputs(
        run=training.run,
        evaluation=demo.uri("evaluation"),
        title="dakpn demo: synthetic to real, labels untouched",
        notices=[_SIMULATED] if simulated else [],
        timings=demo.timings,
        target_name="Simulated real" if simulated else "Real",
    )


if __name__ == "__main__":
    from workflows import as_command

    as_command("demo")
