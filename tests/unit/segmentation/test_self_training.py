"""Self-training: what is pasted, how the teacher follows, and that real images without labels are learned from."""

import numpy as np
import torch

from dakpn.config import EncoderConfig, SegmenterTrainingConfig, SelfTrainingConfig
from dakpn.datasets.label_space import LabelSpace
from dakpn.models.segmenters.networks import build_untrained_network
from dakpn.segmentation.examples import LabelledExamples
from dakpn.segmentation.fit import fit_segmenter, segmentation_state
from dakpn.segmentation.self_training import SelfTraining, SelfTrainingBatch, SelfTrainingTask, chosen_classes
from dakpn.training.data import SegmentationBatch
from dakpn.training.loop import Step

NETWORK = EncoderConfig.model_validate({"network": {"widths": (4, 8, 8, 16)}}).network
TRAINING = SegmenterTrainingConfig(size=(24, 32), steps=6, batch_size_per_worker=4, learning_rate=1e-2)
DARK_AND_BRIGHT = (((120, 40, 70), (60, 70, 70)), ((230, 120, 120), (150, 150, 150)))
SPACE = LabelSpace("boxes", ("ground", "box"))


def boxes(count: int, seed: int, box: tuple[int, int, int], ground: tuple[int, int, int]) -> LabelledExamples:
    """Pictures of a box on the ground in two colors, with some noise."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((count, 24, 32), np.uint8)
    for label in labels:
        top, left = rng.integers(2, 10), rng.integers(2, 16)
        label[top : top + 10, left : left + 12] = 1
    images = np.where(labels[:, None] == 1, *(np.array(color).reshape(1, 3, 1, 1) for color in (box, ground)))
    noisy = (images + rng.normal(0, 12, images.shape)).clip(0, 255).astype(np.uint8)
    return LabelledExamples(tuple(map(str, range(count))), noisy, labels, SPACE)


def test_half_of_the_classes_that_an_image_shows_are_pasted_and_no_ignored_pixel() -> None:
    labels = torch.tensor([[[0, 1, 2, 3, 255]], [[4, 4, 4, 4, 255]], [[0, 0, 1, 2, 2]]])
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        chosen = chosen_classes(labels, 5, 255)
        pasted = [set(label[mask].tolist()) for label, mask in zip(labels, chosen, strict=True)]
        assert [len(classes) for classes in pasted] == [2, 1, 2]
        assert torch.equal(chosen[2][labels[2] == 0], chosen[2][labels[2] == 0][:1].expand(2))  # whole classes
        assert not chosen[labels == 255].any()
        seen.add(tuple(sorted(pasted[0])))
    assert len(seen) == 6  # all pairs out of four are drawn


def test_the_teacher_is_an_average_that_takes_no_gradient() -> None:
    network = build_untrained_network(NETWORK, 2)
    state = segmentation_state(network, TRAINING, np.ones(2), 255)
    task = SelfTrainingTask(state.task, SelfTrainingConfig(decay=0.75)).train()
    assert not task.teacher.training
    batch = SelfTrainingBatch(
        SegmentationBatch(torch.rand(2, 3, 24, 32), torch.zeros(2, 24, 32, dtype=torch.long)), torch.rand(2, 3, 24, 32)
    )
    first = next(iter(task.teacher.parameters())).clone()
    with torch.no_grad():
        next(iter(network.parameters())).add_(1)
    task(batch, Step(100))["loss"].backward()
    followed = next(iter(task.teacher.parameters()))
    assert torch.allclose(followed, first + 0.25)
    assert all(parameter.grad is None for parameter in task.teacher.parameters())
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_what_the_teacher_is_unsure_of_does_not_count() -> None:
    state = segmentation_state(build_untrained_network(NETWORK, 2), TRAINING, np.ones(2), 255)
    task = SelfTrainingTask(state.task, SelfTrainingConfig(threshold=0.9999)).eval()
    labelled = SegmentationBatch(torch.rand(2, 3, 24, 32), torch.full((2, 24, 32), 255))
    batch = SelfTrainingBatch(labelled, torch.rand(2, 3, 24, 32))
    unsure = task(batch)  # no pixel of these labelled images has a class, so that nothing is pasted
    assert unsure["confident"] == unsure["mixed"] == 0
    task.settings = SelfTrainingConfig(threshold=0.0)
    sure = task(batch)
    assert sure["confident"] == 1
    assert sure["mixed"] > 0


def test_real_images_without_labels_are_learned_from() -> None:
    labelled = boxes(16, 0, box=(200, 90, 90), ground=(90, 90, 90))
    dark, bright = (boxes(8, 1, box=box, ground=ground).images for box, ground in DARK_AND_BRIGHT)
    config = SelfTrainingConfig(threshold=0.5)
    learned_from = (None, *(SelfTraining(config, images) for images in (dark, dark, bright)))
    trained = [fit_segmenter(labelled, NETWORK, TRAINING, 0, self_training=real).state_dict() for real in learned_from]
    alone, with_dark, again, with_bright = (torch.cat([t.flatten().float() for t in s.values()]) for s in trained)
    assert torch.equal(with_dark, again)
    assert not torch.equal(with_dark, alone)
    assert not torch.equal(with_dark, with_bright)
