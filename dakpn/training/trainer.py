"""The training of a kernel predictor: its encoder, its style bank, then the game against the discriminators.

A `Trainer` is one rank of a training, or all of it. It knows nothing of Ray: `workflows.train` gives it Ray's samples,
Ray's notice of an end and Ray's ranks; in a notebook it prepares samples in threads of its own process.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dakpn import storage
from dakpn.config import TrainConfig
from dakpn.config.base import Size
from dakpn.datasets.label_space import LabelSpace, one_sided_classes
from dakpn.datasets.stream import (
    Arrays,
    PackedDataset,
    Prepare,
    PreparedStream,
    SampleSource,
    Stream,
    StreamOrder,
    prepared_in_threads,
    stacked,
)
from dakpn.datasets.training_decode import (
    label_decoder,
    labelled_decoder,
    real_decoder,
    style_decoder,
    synthetic_decoder,
)
from dakpn.errors import TrainingError, UsageError
from dakpn.images.header import image_header
from dakpn.models.precision import compute_dtype, place
from dakpn.models.predictor import KernelPredictor
from dakpn.models.segmenters.networks import build_untrained_network, require_network, require_sides
from dakpn.models.weights import load_segmenter, save_predictor, save_segmenter
from dakpn.models.weights_files import has_weights
from dakpn.segmentation.fit import segmentation_state
from dakpn.training.adversarial import AdversarialTask, adversarial_state, sample_grid
from dakpn.training.card import ENCODER_CARD, predictor_card
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.data import AdversarialBatch, Batch, BatchLoader, read_ahead, real_batch, synthetic_batch
from dakpn.training.distributed import require_same_params, wait_for_all, wrap_in_ddp
from dakpn.training.encoder import (
    EncoderRound,
    LogitCache,
    Recoloring,
    collect_styles,
    encoder_rounds,
    has_styles,
    read_styles,
)
from dakpn.training.loop import LoopSettings, Reporter, Saver, TerminationNotice, run_steps
from dakpn.training.reporting import DrawSamples, NoReport, RunReporter, read_alarms, read_metrics
from dakpn.training.run_folder import RunFolder
from dakpn.training.state import TrainState
from dakpn.training.tracking import Tracker, build_trackers

logger = logging.getLogger(__name__)

_PAIRS_DRAWN = 4
_LABELS_FOR_CLASS_WEIGHTS = 200
_NOT_OF_THE_MODEL = {"stage", "step", "seconds_per_step", "images_per_second", "data_wait_share"}
_B = TypeVar("_B", bound=Batch)


class Rank(NamedTuple):
    """Which worker of how many this is."""

    rank: int = 0
    world_size: int = 1


ALONE = Rank()


class Trainer:
    """One rank of a training run: the encoder's training, then the predictor's against the discriminators.

    Example:
        ```python
        config = load_config(TrainConfig, "workflows/configs/camvid_demo.yaml", ["run=runs/notebook"])
        weights = Trainer(config).fit()  # URI of the trained weights; the same call resumes a stopped run
        ```

    Args:
        config: Config of the run; `config.synthetic` and `config.real` name what is read if no source is given.
        synthetic: labelled images of the source domain.
        real: images of the target domain; their labels are never read.
        rank: this one's; all ranks construct a trainer of the same config.
        device: to train on; by default the first GPU if the config wants one, else the CPU.
        prepared: prepares the samples; by default threads of this process do.
        threads: how many; by default one for each CPU that this process may use.
        notice: Tells when a checkpoint is wanted, because this process or machine will end.
        trackers: made for a stage by its name, beside those of the config.
        until: Step at which the predictor's training stops, to be resumed later; None trains to the end.

    Raises:
        UsageError: an input is missing or does not fit, or there is no GPU where one is wanted.
    """

    def __init__(
        self,
        config: TrainConfig,
        synthetic: SampleSource | None = None,
        real: SampleSource | None = None,
        *,
        rank: Rank = ALONE,
        device: torch.device | None = None,
        prepared: PreparedStream | None = None,
        threads: int | None = None,
        notice: TerminationNotice | None = None,
        trackers: Callable[[str], Sequence[Tracker]] = lambda stage: (),
        until: int | None = None,
    ) -> None:
        self.config, self.rank, self.notice = config, rank, notice
        self.synthetic = synthetic or PackedDataset.open(config.synthetic)
        self.real = real or PackedDataset.open(config.real)
        self.label_space = _label_space(self.synthetic)
        self.device = device or default_device(config)
        self.compute_dtype = compute_dtype(config.precision, self.device)
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True  # a resumed run ends with the weights of one that never stopped
        self.folder = RunFolder(config.run)
        self.predictor_steps = config.adversarial.steps if until is None else min(until, config.adversarial.steps)
        self._prepared = prepared or partial(prepared_in_threads, threads=threads or usable_cpus())
        self._trackers = trackers

    def prepare(self) -> None:
        """Check all that can be checked before the work, and write the config into the run folder.

        Raises:
            UsageError, WeightsError: the encoder's weights or network do not fit, or its images are too small.
            StorageError: the run folder cannot be written.
            ConfigError: it holds a run with other settings.
        """
        encoder = self.config.encoder
        seen = self.config.style.kind != "none" or self.config.head.condition != "label"
        sizes = {"prediction_size": self.config.prediction_size} if seen else {}
        if encoder.weights is not None:
            _require_same_classes(encoder.weights, self.label_space, sizes)
        else:
            require_network(encoder.network, {"encoder.training.size": encoder.training.size, **sizes})
        if self.real.index.label_space is not None:
            real = LabelSpace.from_dict(self.real.index.label_space)
            for sentence in one_sided_classes(self.synthetic.uri, self.label_space, self.real.uri, real):
                logger.warning("%s", sentence)
        storage.preflight(self.config.run, write=True)
        self.folder.begin(self.config)

    def fit(self) -> str:
        """Train, or resume from the newest complete checkpoints, and return the URI of the weights.

        Raises:
            as `prepare`; and DataError, StorageError, TrainingError: found while training.
        """
        self.prepare()
        return self.train()

    def train(self) -> str:
        """What `fit` does after `prepare`, which for several ranks is called once, before them."""
        self.make_encoder()
        self.make_style_bank()
        self.train_predictor()
        return self.folder.weights

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

    def make_style_bank(self) -> None:
        """Collect the style bank, unless the recipe has none or it is already there."""
        if self.config.style.kind != "none":
            self._collect_styles(self._encoder_weights, self.folder.styles)

    def train_predictor(self) -> None:
        """Train the predictor against the discriminators and, on rank 0, save its smoothed weights."""
        settings = self.config.adversarial
        predictor, encoder_digest = self._untrained_predictor()
        if not settings.steps:
            self._save(predictor, encoder_digest)
            return
        task = place(self._adversarial_task(predictor), self.device)
        state = adversarial_state(task, settings, self.config.health)
        sizes = (self.config.prediction_size, settings.patch_size)
        labelled = self.config.head.needs_label
        synthetic = synthetic_decoder(*sizes, self.label_space if labelled else None)
        real = real_decoder(*sizes)

        def batches(loader: BatchLoader, start: int, count: int) -> Iterator[AdversarialBatch]:
            ours = self._stream(self.synthetic, synthetic, start, count, labelled=labelled)
            theirs = self._stream(self.real, real, start, count, labelled=False)
            return loader.adversarial_batches(ours, theirs, settings.batch_size_per_worker)

        @cache
        def first_pairs() -> AdversarialBatch:
            pairs = _first_examples(self.synthetic, synthetic), _first_examples(self.real, real)
            count = min(len(arrays["low"]) for arrays in pairs)
            ours, theirs = ({name: array[:count] for name, array in arrays.items()} for arrays in pairs)
            return AdversarialBatch(synthetic_batch(ours), real_batch(theirs)).to(self.device)

        def draw_samples() -> NDArray[np.uint8]:
            return sample_grid(task, state.ema, first_pairs())

        size = settings.batch_size_per_worker
        self._run("adversarial", state, batches, size, self.predictor_steps, settings.gradient_clip, draw_samples)
        if state.ema:
            state.ema.copy_to(task.predictor)
        self._save(task.predictor, encoder_digest)

    def _save(self, predictor: KernelPredictor, encoder_digest: str) -> None:
        if self.rank.rank == 0:
            save_predictor(self.folder.weights, predictor, self.label_space, self._card(encoder_digest))

    @property
    def _encoder_weights(self) -> str:
        return self.config.encoder.weights or self.folder.encoder

    def _train_encoder(self, planned: EncoderRound) -> None:
        training = self.config.encoder.training
        torch.manual_seed(self.config.seed)
        network = build_untrained_network(self.config.encoder.network, self.label_space.num_classes)
        network, ignore_id = place(network, self.device), self.label_space.ignore_id
        recolor = None
        if planned.colors is not None:
            recolor = Recoloring(read_styles(planned.colors)[1], self.config.style, self.device)
        pixel_counts = self._pixel_counts(training.size)
        state = segmentation_state(network, training, pixel_counts, ignore_id, self.compute_dtype, recolor)
        prepare = labelled_decoder(self.label_space, training.size)
        size = training.batch_size_per_worker
        self._run(
            planned.stage,
            state,
            lambda loader, start, count: loader.segmentation_batches(
                self._stream(self.synthetic, prepare, start, count, labelled=True), size
            ),
            size,
            training.steps,
        )
        if self.rank.rank == 0:
            save_segmenter(planned.weights, network, self.config.encoder.network, self.label_space, ENCODER_CARD)

    def _collect_styles(self, encoder_weights: str, to: str) -> None:
        if self.rank.rank == 0 and not has_styles(to):
            encoder = load_segmenter(encoder_weights)[0].to(self.device)
            prepare = style_decoder(self.config.prediction_size)
            collect_styles(to, self._some(self.real, prepare, self.config.style.entries, labelled=False), encoder)
        wait_for_all()

    def _untrained_predictor(self) -> tuple[KernelPredictor, str]:
        """The predictor before its first step, and the digest of its encoder."""
        encoder, network, _, digest = load_segmenter(self._encoder_weights)
        keys, moments = read_styles(self.folder.styles) if self.config.style.kind != "none" else ((), None)
        torch.manual_seed(self.config.seed)
        width = self.config.translation.reference_width and _first_width(self.synthetic)
        predictor = KernelPredictor(self.config.predictor(network, self.label_space.num_classes, tuple(keys), width))
        predictor.encoder.load_state_dict(encoder.state_dict())
        if predictor.style_bank is not None and moments is not None:
            predictor.style_bank.fill(moments)
        return predictor, digest

    def _adversarial_task(self, predictor: KernelPredictor) -> AdversarialTask:
        encoder, cache_of_logits = self.config.encoder, None
        if encoder.cache_features and predictor.uses_encoder:
            cache_of_logits = LogitCache(predictor.encoder, encoder.cache_megabytes * 2**20)
        return AdversarialTask(
            predictor, self.config.adversarial, self.config.discriminator, self.compute_dtype, cache_of_logits
        )

    def _stream(self, source: SampleSource, prepare: Prepare, start: int, count: int, *, labelled: bool) -> Stream:
        """So many of this rank's samples, from number `start` on."""
        shuffle = self.config.stream.shuffle_shards
        order = StreamOrder(source.index, self.config.seed, self.rank.rank, self.rank.world_size, shuffle)
        return Stream(source, order, prepare, labelled, start, count)

    def _some(self, source: SampleSource, prepare: Prepare, most: int, *, labelled: bool) -> Iterator[Arrays]:
        """The first of the shuffled samples, `most` or all that there are, in blocks: the same on every rank."""
        order = StreamOrder(source.index, self.config.seed, shuffle_shards=1)
        stream = Stream(source, order, prepare, labelled, count=min(most, order.index.rows))
        with read_ahead(self._prepared(stream), self._heed_notice) as ahead:
            for block in ahead:
                self._heed_notice()
                yield block

    def _heed_notice(self) -> None:
        """Between two stages nothing needs a checkpoint: what is done is saved."""
        if self.rank.rank == 0 and self.notice is not None and self.notice.checkpoint_wanted(0):
            self.notice.checkpoint_written(0)

    def _pixel_counts(self, size: Size) -> NDArray[np.int64]:
        """Pixels of each class in some labels of the synthetic dataset: the same on every rank."""
        counts = np.zeros(256, dtype=np.int64)
        prepare = label_decoder(self.label_space, size)
        for block in self._some(self.synthetic, prepare, _LABELS_FOR_CLASS_WEIGHTS, labelled=True):
            counts += np.bincount(block["label"].ravel(), minlength=256)
        return counts[: self.label_space.num_classes]

    def _card(self, encoder_digest: str) -> str:
        digests = {
            "synthetic dataset": self.synthetic.index.digest,
            "real dataset": self.real.index.digest,
            "encoder": encoder_digest,
        }
        last = next(reversed(read_metrics(self.folder.metrics)), {})
        metrics = {name: value for name, value in last.items() if name not in _NOT_OF_THE_MODEL}
        return predictor_card(self.config, self.label_space, digests, metrics, read_alarms(self.folder.alarms))

    def _run(
        self,
        stage: str,
        state: TrainState,
        batches: Callable[[BatchLoader, int, int], Iterator[_B]],
        batch_size: int,
        steps: int,
        clip: float | None = None,
        draw_samples: DrawSamples | None = None,
    ) -> None:
        """Take the steps of a stage that its newest checkpoint lacks.

        Args:
            stage: its name in metrics and checkpoints.
            state: before the first step.
            batches: given a loader, the number of the first sample and how many are wanted, gives the batches.
            batch_size: Batch size of this rank.
            steps: in all.
            clip: largest norm of the gradient of the predictor, and of that of the discriminators.
            draw_samples: gives a picture of fixed samples as the model is now.
        """
        config, rank = self.config, self.rank.rank
        checkpoints = CheckpointFolder(self.folder.checkpoints(stage), config.keep_checkpoints)
        checkpoints.restore_newest(state)
        settings = LoopSettings(steps, config.report_every, config.checkpoint_every, config.seed, rank, clip)
        saver = Saver(state, checkpoints, self.notice, rank)
        loader = BatchLoader(self._prepared, self.device, saver.heed_notice)
        task: nn.Module = wrap_in_ddp(state.task)
        with self._reporter(stage, state.step, draw_samples) as reporter, _memory_advice(stage):
            wanted = batches(loader, state.step * batch_size, (steps - state.step) * batch_size)
            run_steps(state, task, wanted, settings, reporter, saver)
        require_same_params(state.task)

    @contextmanager
    def _reporter(self, stage: str, start_step: int, draw_samples: DrawSamples | None) -> Iterator[Reporter]:
        if self.rank.rank != 0:
            yield NoReport()
            return
        tracking = self.config.tracking
        trackers = build_trackers(tracking, self.folder, stage, start_step, self._trackers(stage))
        try:
            yield RunReporter(self.folder, stage, start_step, trackers, draw_samples, tracking.samples_every)
        finally:
            trackers.close()


def default_device(config: TrainConfig) -> torch.device:
    """Where a training in this process computes. Raises `UsageError` if it wants a GPU and there is none."""
    if not config.use_gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError(
            "use_gpu is true, but torch finds no GPU here; set use_gpu=false, install a torch with CUDA, or train on a "
            "cluster that has GPUs (workers=1 and RAY_ADDRESS)"
        )
    return torch.device("cuda")


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _memory_advice(stage: str) -> Iterator[None]:
    """Say which settings to lower when the GPU's memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        own, other = "adversarial.batch_size_per_worker", "adversarial.patch_size and prediction_size"
        if stage != "adversarial":
            own, other = "encoder.training.batch_size_per_worker", "encoder.training.size"
        raise TrainingError(
            f"the GPU is out of memory in the stage {stage} ({str(error).partition('.')[0]}); lower {own}, or {other}, "
            "and run the same command with a new `run`"
        ) from error


def _label_space(source: SampleSource) -> LabelSpace:
    index = source.index
    if index.label_space is None or not index.labelled:
        raise UsageError(f"dataset {source.uri} has no labels; expected a labelled one: pack it with its labels")
    return LabelSpace.from_dict(index.label_space)


def _require_same_classes(weights: str, label_space: LabelSpace, sizes: Mapping[str, Size]) -> None:
    _, network, space, _ = load_segmenter(weights)
    require_sides(network, sizes)
    found = space.class_names
    if found != label_space.class_names:
        raise UsageError(
            f"encoder weights {weights} were trained on the classes {', '.join(found)}; expected those of the "
            f"synthetic dataset: {', '.join(label_space.class_names)}"
        )


def _first_width(source: SampleSource) -> int:
    """Width of the first image, in pixels."""
    first = next(shard for shard in source.index.shards if shard.rows)
    sample = next(iter(source.read(first.name)))
    return image_header(sample.image, sample.image_path).width


def _first_examples(source: SampleSource, prepare: Prepare) -> Arrays:
    """The examples of the first rows, stacked."""
    first = next(shard for shard in source.index.shards if shard.rows)
    samples = zip(range(_PAIRS_DRAWN), source.read(first.name), strict=False)
    return stacked([prepare(sample, np.random.default_rng(number)) for number, sample in samples])
