"""What a worker of a training does: both stages, on its own part of the data."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import ray.train
import torch
from numpy.typing import NDArray
from ray.train.torch import get_device

from cluster.metrics import TrainingMetrics
from cluster.session import quiet_ray_data
from cluster.termination import TrainNotice
from dakpn.config import TrainConfig
from dakpn.data import manifest
from dakpn.data.training_samples import labelled_example, real_example, synthetic_example
from dakpn.models.networks import build_untrained_network
from dakpn.models.precision import compute_dtype, place
from dakpn.models.predictor import KernelPredictor
from dakpn.models.weights import has_weights, load_segmenter, save_predictor, save_segmenter
from dakpn.segmentation.examples import labelled_index, limit_threads
from dakpn.segmentation.fit import segmentation_state
from dakpn.training.adversarial import AdversarialTask
from dakpn.training.batches import to_device, zipped
from dakpn.training.card import ENCODER_CARD, predictor_card
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.distributed import require_same_params, wait_for_all, wrapped
from dakpn.training.encoder_rounds import EncoderRound, encoder_rounds, in_real_colours
from dakpn.training.feature_cache import LogitCache, with_key
from dakpn.training.loop import Batch, LoopSettings, Reporter, run_steps
from dakpn.training.metrics_log import NoReport, read_alarms, read_metrics
from dakpn.training.players import adversarial_state
from dakpn.training.run_folder import RunFolder
from dakpn.training.run_reporter import DrawSamples, RunReporter
from dakpn.training.samples import sample_grid
from dakpn.training.state import TrainState
from dakpn.training.style_collection import collect_styles, has_styles, read_styles
from dakpn.training.tracking import build_trackers
from workflows.training_data import TrainingData

_NOT_OF_THE_MODEL = {"stage", "step", "seconds_per_step", "images_per_second", "data_wait_share"}


def train_worker(loop_config: dict) -> None:
    """What every worker runs: both stages, each resuming from its newest complete checkpoint."""
    config = TrainConfig.model_validate(loop_config["config"])
    worker = TrainingWorker(config, loop_config["notice"], loop_config["until"])
    worker.make_encoder()
    worker.make_style_bank()
    worker.train_predictor()


class TrainingWorker:
    """One rank of a training run.

    Args:
        config: of the run.
        notice: see `dakpn.training.loop.Notice`.
        until: step at which the predictor's training is left off, to go on later; None trains to the end.
    """

    def __init__(self, config: TrainConfig, notice: TrainNotice, until: int | None = None) -> None:
        quiet_ray_data()
        logging.getLogger("dakpn").setLevel(logging.INFO)
        context = ray.train.get_context()
        self.config, self.notice = config, notice
        self.predictor_steps = config.adversarial.steps if until is None else min(until, config.adversarial.steps)
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = get_device()
        self.compute_dtype = compute_dtype(config.precision, self.device)
        self.folder = RunFolder(config.run)
        self.label_space, self.synthetic_index = labelled_index(config.synthetic)
        self.data = TrainingData(config, self.rank, self.world_size)
        if self.device.type == "cpu" and config.workers:
            limit_threads(config.cpus_per_worker)

    @property
    def _encoder_weights(self) -> str:
        return self.config.encoder.weights or self.folder.encoder

    def make_encoder(self) -> None:
        """Train the source segmenter, and adapt it, unless its weights are given or already there."""
        if self.config.encoder.weights is None and not has_weights(self.folder.encoder):
            for planned in encoder_rounds(self.folder, self.config.encoder.adaptation_rounds):
                if not has_weights(planned.weights):
                    self._train_encoder(planned)
                wait_for_all()
                if planned.styles is not None:
                    self._collect_styles(planned.weights, planned.styles)
        wait_for_all()

    def _train_encoder(self, planned: EncoderRound) -> None:
        training = self.config.encoder.training
        torch.manual_seed(self.config.seed)
        network = build_untrained_network(self.config.encoder.network, self.label_space.num_classes)
        network, ignore_id = place(network, self.device), self.label_space.ignore_id
        pixel_counts = self.data.pixel_counts(self.label_space, training.size)
        state = segmentation_state(network, training, pixel_counts, ignore_id, self.compute_dtype)
        colours = None if planned.colours is None else read_styles(planned.colours)[1]

        def batches(start_step: int) -> Iterator[Batch]:
            prepare = labelled_example(self.label_space, training.size)
            plain = self.data.batches(
                self.config.synthetic, prepare, training.batch_size_per_worker, start_step, labelled=True
            )
            if colours is None:
                return plain
            there = to_device(plain, self.device)
            return in_real_colours(there, colours, self.config.style, self.config.seed, self.rank, start_step)

        self._run(planned.stage, state, batches, training.steps)
        if self.rank == 0:
            save_segmenter(planned.weights, network.cpu(), self.config.encoder.network, self.label_space, ENCODER_CARD)

    def make_style_bank(self) -> None:
        """Collect the style bank, unless the recipe has none or it is already there."""
        if self.config.style.kind != "none":
            self._collect_styles(self._encoder_weights, self.folder.styles)

    def _collect_styles(self, encoder_weights: str, to: str) -> None:
        if self.rank == 0 and not has_styles(to):
            encoder = load_segmenter(encoder_weights)[0].to(self.device)
            samples = self.data.some_samples(self.config.real, self.config.style.entries, labelled=False)
            collect_styles(to, samples, encoder, self.config.prediction_size)
        wait_for_all()

    def _untrained_predictor(self) -> tuple[KernelPredictor, str]:
        """The predictor before its first step, and the digest of its encoder."""
        encoder, network, _, digest = load_segmenter(self._encoder_weights)
        keys, moments = read_styles(self.folder.styles) if self.config.style.kind != "none" else ((), None)
        torch.manual_seed(self.config.seed)
        predictor = KernelPredictor(self.config.predictor(network, self.label_space.num_classes, tuple(keys)))
        predictor.encoder.load_state_dict(encoder.state_dict())
        if predictor.style_bank is not None and moments is not None:
            predictor.style_bank.fill(moments)
        return predictor, digest

    def train_predictor(self) -> None:
        """Train the predictor against the discriminators and, on rank 0, save its smoothed weights."""
        settings = self.config.adversarial
        predictor, encoder_digest = self._untrained_predictor()
        task = AdversarialTask(predictor, settings, self.config.discriminator, self.compute_dtype)
        state = adversarial_state(place(task, self.device), settings, self.config.health)

        sizes = (self.config.prediction_size, settings.patch_size)
        cached = self.config.encoder.cache_features and predictor.uses_encoder
        labelled = self.config.head.needs_label
        synthetic = synthetic_example(*sizes, self.label_space if labelled else None)
        synthetic = with_key(synthetic) if cached else synthetic
        real = real_example(*sizes)

        def batches(start_step: int) -> Iterator[Batch]:
            size = settings.batch_size_per_worker
            both = zipped(
                self.data.batches(self.config.synthetic, synthetic, size, start_step, labelled=labelled),
                self.data.batches(self.config.real, real, size, start_step, labelled=False),
            )
            max_bytes = self.config.encoder.cache_megabytes * 2**20
            return LogitCache(task.predictor.encoder, max_bytes).added_to(both) if cached else both

        first_pairs = cache(lambda: next(to_device(self.data.first_pairs(synthetic, real), self.device)))

        def draw_samples() -> NDArray[np.uint8]:
            return sample_grid(task, state.ema, first_pairs())

        self._run("adversarial", state, batches, self.predictor_steps, settings.gradient_clip, draw_samples)
        if self.rank == 0 and state.ema:
            state.ema.copy_to(task.predictor)
            save_predictor(self.folder.weights, task.predictor, self.label_space, self._card(encoder_digest))
        ray.train.report({"step": state.step})

    def _card(self, encoder_digest: str) -> str:
        digests = {
            "synthetic dataset": self.synthetic_index.digest,
            "real dataset": manifest.read_index(self.config.real).digest,
            "encoder": encoder_digest,
        }
        last = next(reversed(read_metrics(self.folder.metrics)), {})
        metrics = {name: value for name, value in last.items() if name not in _NOT_OF_THE_MODEL}
        return predictor_card(self.config, self.label_space, digests, metrics, read_alarms(self.folder.alarms))

    def _run(
        self,
        stage: str,
        state: TrainState,
        batches: Callable[[int], Iterator[Batch]],
        steps: int,
        clip: float | None = None,
        draw_samples: DrawSamples | None = None,
    ) -> None:
        checkpoints = CheckpointFolder(self.folder.checkpoints(stage), self.config.keep_checkpoints)
        checkpoints.restore_newest(state)
        settings = LoopSettings(
            steps, self.config.report_every, self.config.checkpoint_every, self.config.seed, self.rank, clip
        )
        on_device = to_device(batches(state.step), self.device)
        with self._reporter(stage, state.step, draw_samples) as reporter:
            run_steps(state, wrapped(state.task), on_device, settings, reporter, checkpoints, self.notice)
        require_same_params(state.task)

    @contextmanager
    def _reporter(self, stage: str, start_step: int, draw_samples: DrawSamples | None) -> Iterator[Reporter]:
        if self.rank != 0:
            yield NoReport()
            return
        tracking = self.config.tracking
        trackers = build_trackers(tracking, self.folder, stage, start_step, [TrainingMetrics(stage)])
        try:
            yield RunReporter(self.folder, stage, start_step, trackers, draw_samples, tracking.samples_every)
        finally:
            trackers.close()
