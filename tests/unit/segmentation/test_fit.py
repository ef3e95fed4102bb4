"""Training a segmenter on examples in memory: class weights, determinism, and that it learns."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dakpn.config import EncoderConfig, SegmenterTrainingConfig
from dakpn.data.datasets import LabelSpace
from dakpn.errors import UsageError
from dakpn.models.networks import build_untrained_network
from dakpn.segmentation.examples import LabelledExamples, load_examples
from dakpn.segmentation.fit import fit_segmenter, segmentation_state
from dakpn.segmentation.score import score_segmenter
from dakpn.segmentation.task import SegmentationTask, balanced_class_weights
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


def test_rare_classes_weigh_more_by_the_inverse_square_root_of_their_frequency() -> None:
    weights = balanced_class_weights(np.array([9_000, 900, 100]))
    frequency = torch.tensor([0.9, 0.09, 0.01])
    assert weights[0] < weights[1] < weights[2]
    torch.testing.assert_close(weights[1] / weights[0], ((0.9 + 0.005) / (0.09 + 0.005)) ** torch.tensor(0.5))
    torch.testing.assert_close((weights * frequency).sum(), torch.tensor(1.0))


@pytest.mark.parametrize("counts", [[0, 0], [5, 0]])
def test_classes_that_never_occur_get_finite_weights(counts: list[int]) -> None:
    weights = balanced_class_weights(np.array(counts))
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()


@pytest.mark.parametrize(("label_there", "matters"), [(255, False), (1, True)])
def test_what_lies_under_ignored_pixels_teaches_nothing(label_there: int, matters: bool) -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, 1)
    task = SegmentationTask(network, torch.ones(2), ignore_id=255)
    label = torch.zeros(1, 8, 8, dtype=torch.long)
    label[..., 4:] = label_there
    image = torch.rand(1, 3, 8, 8)
    other = image.clone()
    other[..., 6:] = 1.0  # not next to the border, where zooming mixes pixels
    gradients = []
    for shown in (image, other):
        torch.manual_seed(1)
        (gradient,) = torch.autograd.grad(task({"image": shown, "label": label})["loss"], [network.weight])
        gradients.append(gradient)
    assert torch.equal(*gradients) is not matters


def test_a_batch_of_ignored_pixels_alone_teaches_nothing() -> None:
    network = nn.Conv2d(3, 4, 1)
    task = SegmentationTask(network, torch.ones(4), ignore_id=255)
    loss = task({"image": torch.rand(2, 3, 8, 8), "label": torch.full((2, 8, 8), 255)})["loss"]
    loss.backward()
    assert loss == 0
    assert network.weight.grad is not None
    assert not network.weight.grad.any()


def test_examples_are_the_dataset_resized(examples: LabelledExamples) -> None:
    assert examples.images.shape == (12, 3, *SIZE)
    assert examples.labels.shape == (12, *SIZE)
    assert examples.images.dtype == examples.labels.dtype == np.uint8
    assert len(set(examples.keys)) == 12
    counts = examples.pixel_counts()
    assert counts.shape == (11,)
    assert counts.sum() == (examples.labels != 255).sum()
    assert [len(batch["image"]) for batch in examples.ordered_batches(5)] == [5, 5, 2]


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
        drawn.append([next(batches)["image"].flatten().tolist() for _ in range(3)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]
