"""Training learns: it finds a known map between two domains from unpaired images, class by class.

The real domain is the synthetic one under a map that differs between classes in hue, saturation, value, blur and noise.
Training that does not find this map is wrong, whatever a downstream score says.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from dakpn.config import (
    AdversarialConfig,
    DiscriminatorConfig,
    GaussianBlurConfig,
    HeadConfig,
    HsvAffineConfig,
    NoiseConfig,
    PredictorConfig,
    ScheduleConfig,
    SmallNetworkConfig,
    StyleConfig,
    TranslationConfig,
)
from dakpn.datasets.class_shares import class_shares
from dakpn.datasets.schema import Sample
from dakpn.datasets.stream import Prepare, Stream, StreamOrder, prepared_in_threads
from dakpn.datasets.training_decode import real_decoder, synthetic_decoder
from dakpn.images import codec
from dakpn.models.function.translation import TranslationFunction
from dakpn.models.predictor import KernelPredictor
from dakpn.scenes import Scene, render_scene
from dakpn.training.adversarial import AdversarialTask, adversarial_state
from dakpn.training.data import BatchLoader
from dakpn.training.loop import LoopSettings, run_steps
from tests.scenes import CAMVID
from tests.sources import HeldSamples
from tests.unit.training.tiny import Reports

SIZE, LOW = (96, 128), (48, 64)
SKY, BUILDING, ROAD, PAVEMENT, TREE = 0, 1, 3, 4, 5
CLASSES = CAMVID.label_space.num_classes
KNOWN = {
    SKY: {"hue_shift": -0.05, "value_gain": 0.75, "noise": 0.06},
    BUILDING: {"value_gain": 1.3, "saturation_gain": 0.6},
    ROAD: {"value_gain": 0.7, "sigma": 1.5},
    PAVEMENT: {"value_gain": 1.25},
    TREE: {"hue_shift": 0.05, "saturation_gain": 1.4},
}
STAGES = (HsvAffineConfig(), GaussianBlurConfig(initial_sigma=0.5), NoiseConfig(initial_scale=0.01))
FUNCTION = TranslationFunction(TranslationConfig(stages=STAGES))
ADVERSARIAL = AdversarialConfig(
    loss="least_squares",
    identity_weight=0.0,
    patch_size=LOW,
    steps=1200,
    predictor_learning_rate=1e-2,
    predictor_schedule=ScheduleConfig(decay="linear", decay_from=0.0),
    discriminator_learning_rate=1e-3,
)


def known_params() -> Tensor:
    """[C, 12]: the map, class by class."""
    params = torch.tensor(FUNCTION.identity).repeat(CLASSES, 1)
    for class_id, values in KNOWN.items():
        for prefix, value in values.items():
            chosen = [i for i, name in enumerate(FUNCTION.names) if name.startswith(prefix)]
            params[class_id, chosen] = value
    return params


def pixels_of(scenes: Sequence[Scene]) -> Tensor:
    return torch.stack([torch.from_numpy(scene.image).permute(2, 0, 1) for scene in scenes]).float() / 255


def mapped(scenes: Sequence[Scene]) -> list[Sample]:
    """The real domain: the same images under the known map, in no order that tells the pairs."""
    images = pixels_of(scenes)
    shares = np.stack([class_shares(scene.label, CLASSES, SIZE) for scene in scenes])
    params = torch.einsum("bchw,cp->bphw", torch.from_numpy(shares).float() / 255, known_params())
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    pictures = (FUNCTION.apply(images, params, noise) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    order = np.random.default_rng(0).permutation(len(pictures))
    return [Sample(f"{i}", codec.encode_image(pictures[i], "png"), f"{i}.png", None, None) for i in order]


def labelled(scenes: Sequence[Scene]) -> list[Sample]:
    return [
        Sample(f"{i}", codec.encode_image(s.image, "png"), f"{i}.png", codec.encode_label(s.label), f"{i}.png")
        for i, s in enumerate(scenes)
    ]


def stream_of(samples: Sequence[Sample], prepare: Prepare, seed: int, *, labelled: bool) -> Stream:
    source = HeldSamples({"all": samples})
    return Stream(source, StreamOrder(source.index, seed), prepare, labelled)


def train(scenes: Sequence[Scene], seed: int) -> KernelPredictor:
    """A predictor that sees labels and knows nothing of the pairs; the seed is of the order of the images."""
    torch.manual_seed(0)
    predictor = KernelPredictor(
        PredictorConfig(
            num_classes=CLASSES,
            prediction_size=LOW,
            network=SmallNetworkConfig(widths=(4, 4, 8, 8)),
            head=HeadConfig(condition="label"),
            translation=TranslationConfig(stages=STAGES),
            style=StyleConfig(kind="none"),
        )
    )
    task = AdversarialTask(predictor, ADVERSARIAL, DiscriminatorConfig(widths=(32, 64)))
    state = adversarial_state(task, ADVERSARIAL)
    batches = BatchLoader(partial(prepared_in_threads, threads=2), torch.device("cpu")).adversarial_batches(
        stream_of(labelled(scenes), synthetic_decoder(LOW, LOW, CAMVID.label_space), seed, labelled=True),
        stream_of(mapped(scenes), real_decoder(LOW, LOW), seed + 1, labelled=False),
        batch_size=4,
    )
    settings = LoopSettings(ADVERSARIAL.steps, 100, ADVERSARIAL.steps, gradient_clip=ADVERSARIAL.gradient_clip)
    run_steps(state, task, batches, settings, Reports())
    if state.ema:
        state.ema.copy_to(predictor)
    return predictor.eval()


@torch.no_grad()
def learned_params(predictor: KernelPredictor) -> Tensor:
    """[C, 12]: what the head says of a pixel that is wholly of a class."""
    return predictor.refinement.bound(predictor.head(torch.eye(CLASSES)[..., None, None])).flatten(1)


def mean_color(scenes: Sequence[Scene], class_id: int, params: Tensor) -> Tensor:
    """Mean color [3] of a class, in grey levels, after the color stage alone."""
    images, labels = pixels_of(scenes), torch.from_numpy(np.stack([scene.label for scene in scenes]))
    recolored = FUNCTION.stages[0].apply(images, params[:6].view(1, -1, 1, 1).expand(len(images), -1, *SIZE), images)
    return 255 * recolored.permute(1, 0, 2, 3)[:, labels == class_id].mean(1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_known_map_is_recovered_class_by_class_from_unpaired_images() -> None:
    scenes = [render_scene(seed, SIZE) for seed in range(60)]
    # The networks circle about the map: a sigma of 1.5 is found as 0.9 by one training and as 1.8 by another.
    learned = torch.stack([learned_params(train(scenes, seed)) for seed in (1, 3)]).mean(0)
    known = known_params()
    identity = torch.tensor(FUNCTION.identity)
    table = {name: learned[:, [n.startswith(name) for n in FUNCTION.names]].mean(1) for name in ("sigma", "noise")}
    problems = []
    for class_id in KNOWN:
        wanted = mean_color(scenes, class_id, known[class_id])
        before, after = (
            float((mean_color(scenes, class_id, params) - wanted).abs().max())
            for params in (identity, learned[class_id])
        )
        if not after < max(8.0, 0.3 * before):
            problems.append(f"class {class_id}: color {before:.1f} levels away before, {after:.1f} after")
    hues = learned[:, FUNCTION.names.index("hue_shift")]
    for class_id in (SKY, TREE):  # the others are too grey to tell
        if abs(float(hues[class_id] - KNOWN[class_id]["hue_shift"])) > 0.015:
            problems.append(f"class {class_id}: hue shift {hues[class_id]:.3f}")
    if not 0.9 < table["sigma"][ROAD] < 2.1 or any(table["sigma"][c] > 0.6 for c in KNOWN if c != ROAD):
        problems.append(f"sigma {table['sigma']}")
    if not 0.03 < table["noise"][SKY] < 0.09 or any(table["noise"][c] > 0.7 * table["noise"][SKY] for c in KNOWN if c):
        problems.append(f"noise {table['noise']}")
    assert not problems, "; ".join(problems)
