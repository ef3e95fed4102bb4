"""Training a segmenter on examples in memory: determinism, and that it learns."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dakpn.config import EncoderConfig, SegmenterTrainingConfig
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import UsageError
from dakpn.models.segmenters.networks import build_untrained_network
from dakpn.segmentation.examples import LabelledExamples, load_examples
from dakpn.segmentation.fit import fit_segmenter, segmentation_state
from dakpn.segmentation.score import score_segmenter
from dakpn.training.data import SegmentationBatch
from tests.scenes import Scenes

NETWORK = EncoderConfig.model_validate({"network": {"widths": (4, 8, 8, 16)}}).network
SIZE = (24, 32)


@pytest.fixture(scope="module")
def examples(scenes: Scenes) -> LabelledExamples:
    return load_examples(scenes.synthetic, SIZE)


def training(steps: int) -> SegmenterTrainingConfig:
    return SegmenterTrainingConfig(size=SIZE, steps=steps, batch_size_per_worker=4, learning_rate=1e-2)


def parameters(network: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().float() for tensor in network.state_dict().values()])


def test_all_of_the_task_is_where_the_network_is() -> None:
    """Class weights that stay on the CPU end a training on a GPU at its first step."""
    network = build_untrained_network(NETWORK, 5).to("meta")
    task = segmentation_state(network, training(3), np.ones(5), ignore_id=255).task
    assert {tensor.device.type for tensor in task.state_dict().values()} == {"meta"}


def test_examples_are_the_dataset_resized(examples: LabelledExamples) -> None:
    assert examples.images.shape == (12, 3, *SIZE)
    assert examples.labels.shape == (12, *SIZE)
    assert examples.images.dtype == examples.labels.dtype == np.uint8
    assert len(set(examples.keys)) == 12
    counts = examples.pixel_counts()
    assert counts.shape == (11,)
    assert counts.sum() == (examples.labels != 255).sum()
    assert [len(batch) for batch in examples.ordered_batches(5)] == [5, 5, 2]


def test_a_dataset_without_labels_is_refused(scenes: Scenes) -> None:
    with pytest.raises(UsageError, match=f"{scenes.real} has no labels"):
        load_examples(scenes.real, SIZE)


def test_the_same_seed_gives_the_same_network(examples: LabelledExamples) -> None:
    fits = []
    for seed in (0, 0, 1):
        torch.manual_seed(12345 + len(fits))  # what went on before must not matter
        fits.append(parameters(fit_segmenter(examples, NETWORK, training(4), seed)))
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_a_segmenter_learns_the_scenes_it_trains_on(examples: LabelledExamples) -> None:
    space = examples.label_space
    accuracy = {}
    for steps in (1, 60):
        network = fit_segmenter(examples, NETWORK, training(steps), seed=0)
        score = score_segmenter(network, examples.ordered_batches(12), space.num_classes, space.ignore_id)
        accuracy[steps] = score.pixel_accuracy
    assert accuracy[60] > max(0.5, accuracy[1] + 0.15), accuracy


def test_batches_are_a_function_of_the_seed() -> None:
    images = np.arange(10, dtype=np.uint8).repeat(3).reshape(10, 3, 1, 1)
    held = LabelledExamples(tuple(map(str, range(10))), images, images[:, 0], LabelSpace("numbers", ("a",)))
    drawn = []
    for seed in (7, 7, 8):
        batches = held.random_batches(6, seed)
        drawn.append([next(batches).images.flatten().tolist() for _ in range(3)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


@pytest.mark.parametrize("augmentation", ["standard", "none"])
def test_without_augmentation_a_network_sees_images_as_they_are(augmentation: str) -> None:
    given = SegmenterTrainingConfig.model_validate({"augmentation": augmentation})
    seen = []
    network = nn.Conv2d(3, 5, 1)
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    state = segmentation_state(network, given, np.ones(5), ignore_id=255)
    images = torch.rand(4, 3, 8, 8)
    state.task(SegmentationBatch(images, torch.zeros(4, 8, 8, dtype=torch.long)))
    assert torch.equal(seen[0], images) is (augmentation == "none")
