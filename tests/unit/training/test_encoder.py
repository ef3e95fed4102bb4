"""The encoder's rounds, what taking the colors of real images means, the style bank, and the kept logits."""

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dakpn.config import SmallNetworkConfig, StyleConfig
from dakpn.datasets.stream import PackedDataset, Stream, StreamOrder, prepared_in_threads, stacked
from dakpn.datasets.training_decode import key_number, real_decoder, style_decoder, synthetic_decoder
from dakpn.models.segmenters.segmenter import SmallSegmenter
from dakpn.models.style import ColorMoments, color_moments
from dakpn.training.data import BatchLoader, SegmentationBatch
from dakpn.training.encoder import LogitCache, Recoloring, collect_styles, encoder_rounds, read_styles
from dakpn.training.loop import step_seed
from dakpn.training.run_folder import RunFolder
from tests.scenes import Scenes
from tests.unit.training.tiny import adversarial_batch, tiny_task

CLASSES, IGNORED = 3, 255
LOGITS = 4
PLENTY = 2**20
IMAGE_BYTES = LOGITS * 6 * 8 * 2  # a 24 x 32 image on the grid of stride 4, in fp16


def test_every_round_takes_the_colors_that_the_one_before_it_collected() -> None:
    first, second, last = encoder_rounds(RunFolder("run"), 2)
    assert first.colors is None
    assert second.colors == first.styles is not None
    assert last.colors == second.styles is not None
    assert last.styles is None
    assert last.weights == "run/encoder"
    assert len({r.weights for r in (first, second, last)}) == len({r.stage for r in (first, second, last)}) == 3


def test_without_adaptation_the_first_round_is_the_last() -> None:
    (only,) = encoder_rounds(RunFolder("run"), 0)
    assert (only.stage, only.weights, only.styles, only.colors) == ("encoder", "run/encoder", None, None)


def batch(seed: int = 0) -> SegmentationBatch:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (2, 16, 16), generator=generator)
    image = 0.3 + 0.1 * label[:, None] + 0.05 * torch.rand(2, 3, 16, 16, generator=generator)
    return SegmentationBatch(image, label)


def styles(count: int = 4) -> ColorMoments:
    """Of real images whose classes are brighter, and of another order, than those of `batch`."""
    generator = torch.Generator().manual_seed(9)
    classes = torch.arange(CLASSES).repeat_interleave(64).expand(count, -1).reshape(count, 1, 12, 16)
    real = 0.9 - 0.15 * classes + 0.04 * torch.rand(count, 3, 12, 16, generator=generator)
    shares = (classes == torch.arange(CLASSES)[:, None, None]).float()
    return color_moments(real, shares)


def recolored(batches: list[SegmentationBatch], start_step: int = 0, rank: int = 0) -> list[Tensor]:
    """Images of batches, with the generator seeded as the train loop seeds it for their steps."""
    recolor, images = Recoloring(styles(), StyleConfig(scarce_mass=1e-6), torch.device("cpu")), []
    for step, before in enumerate(batches, start_step):
        torch.manual_seed(step_seed(5, rank, step))
        images.append(recolor(before.images, before.labels))
    return images


def test_each_class_gets_the_colors_that_it_has_in_a_real_image() -> None:
    before = batch()
    labels = before.labels.clone()
    (after,) = recolored([before])
    assert torch.equal(before.labels, labels)
    shares = (before.labels[:, None] == torch.arange(CLASSES)[:, None, None]).float()
    reached = color_moments(after, shares)
    wanted = styles()
    for image in range(2):
        distance = (reached.class_mean[image] - wanted.class_mean).abs().amax((1, 2))
        assert distance.min() < 0.01  # one of the real images', class by class
        assert (color_moments(before.images, shares).class_mean[image] - wanted.class_mean).abs().amax() > 0.1


def test_ignored_pixels_take_the_colors_of_the_whole_image() -> None:
    before = batch()
    before.labels[:, :4] = IGNORED
    (after,) = recolored([before])
    assert after.isfinite().all()
    assert (after[:, :, :4] - before.images[:, :, :4]).abs().mean() > 0.05
    assert (before.labels[:, :4] == IGNORED).all()


def test_draws_are_a_function_of_step_and_rank() -> None:
    batches = [batch(n) for n in range(6)]
    whole = recolored(batches)
    resumed = recolored(batches[3:], start_step=3)
    for one, other in zip(whole[3:], resumed, strict=True):
        assert torch.equal(one, other)
    elsewhere = recolored(batches, rank=1)
    assert any(not torch.equal(one, other) for one, other in zip(whole, elsewhere, strict=True))


class CountingSegmenter(SmallSegmenter):
    """Counts the images that go through it."""

    seen = 0

    def coarse_logits(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return super().coarse_logits(images)


@pytest.fixture
def encoder() -> CountingSegmenter:
    torch.manual_seed(0)
    network = CountingSegmenter(SmallNetworkConfig(widths=(4, 4, 8, 8)), LOGITS)
    return network.requires_grad_(False).eval()


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 24, 32, generator=torch.Generator().manual_seed(count))


def test_answers_equal_the_encoders_within_fp16_and_each_image_is_encoded_once(encoder: CountingSegmenter) -> None:
    cache, shown = LogitCache(encoder, PLENTY), images(4)
    expected = encoder.coarse_logits(shown)
    encoder.seen = 0
    first = cache.coarse_logits(shown, torch.arange(4))
    mixed = cache.coarse_logits(shown[[2, 0]], torch.tensor([2, 0]))
    assert first.dtype == torch.float32
    torch.testing.assert_close(first, expected, rtol=2**-10, atol=1e-4)
    assert torch.equal(mixed, first[[2, 0]])
    assert (encoder.seen, cache.hits, cache.misses, cache.held_bytes) == (4, 2, 4, 4 * IMAGE_BYTES)


def test_an_answer_depends_neither_on_the_batch_nor_on_what_is_kept(encoder: CountingSegmenter) -> None:
    shown = images(4)
    together = LogitCache(encoder, PLENTY).coarse_logits(shown, torch.arange(4))
    kept_nothing = LogitCache(encoder, 1)
    for number in (3, 1):
        alone = kept_nothing.coarse_logits(shown[[number]], torch.tensor([number]))
        assert torch.equal(alone[0], together[number])


def test_a_full_cache_keeps_what_it_has_and_stays_within_its_bound(encoder: CountingSegmenter) -> None:
    cache, shown = LogitCache(encoder, 2 * IMAGE_BYTES + 1), images(4)
    for _ in range(2):
        cache.coarse_logits(shown, torch.arange(4))
    assert cache.held_bytes == 2 * IMAGE_BYTES
    assert (cache.hits, cache.misses) == (2, 6)


def test_batches_of_a_dataset_carry_numbers_and_get_logits(scenes: Scenes, encoder: CountingSegmenter) -> None:
    """In the second epoch no image is encoded again."""
    ours, theirs = PackedDataset.open(scenes.synthetic), PackedDataset.open(scenes.real)
    streams = (
        Stream(ours, StreamOrder(ours.index, 0), synthetic_decoder((24, 32), (16, 16)), labelled=False),
        Stream(theirs, StreamOrder(theirs.index, 0), real_decoder((24, 32), (16, 16)), labelled=False),
    )
    cache = LogitCache(encoder, PLENTY)
    loader = BatchLoader(partial(prepared_in_threads, threads=2), torch.device("cpu"))
    batches = loader.adversarial_batches(*streams, 12)
    first, second = (next(batches).synthetic for _ in range(2))
    keys = [sample.key for shard in ours.index.shards for sample in ours.read(shard.name)]
    assert first.image_number.dtype == torch.int64
    assert sorted(first.image_number.tolist()) == sorted(map(key_number, keys))
    logits, again = (cache.coarse_logits(batch.low, batch.image_number) for batch in (first, second))
    order = [first.image_number.tolist().index(number) for number in second.image_number.tolist()]
    assert order != list(range(12))
    assert torch.equal(logits[order], again)
    assert (encoder.seen, cache.hits, cache.misses) == (12, 12, 12)
    torch.testing.assert_close(logits, encoder.coarse_logits(first.low), rtol=2**-10, atol=1e-4)


def test_the_task_computes_the_same_with_known_logits_and_does_not_ask_the_encoder() -> None:
    task, batch = tiny_task(), adversarial_batch(0)
    found = {}
    for name, cache in (("asked", None), ("known", LogitCache(task.predictor.encoder, PLENTY))):
        task.logit_cache = cache
        torch.manual_seed(1)
        task.zero_grad()
        terms = task(batch)
        terms["loss"].backward()
        gradient = task.predictor.head.weight.grad
        assert gradient is not None
        found[name] = (terms["loss"].detach(), gradient.clone())
    torch.testing.assert_close(found["known"], found["asked"], rtol=1e-3, atol=1e-4)
    task.predictor.encoder = torch.nn.Identity()  # has no logits to ask for
    task(batch)
    assert task.logit_cache is not None
    assert (task.logit_cache.hits, task.logit_cache.misses) == (2, 2)
    numbered_anew = replace(batch.synthetic, image_number=batch.synthetic.image_number + 100)
    task(replace(batch, synthetic=numbered_anew))
    assert task.logit_cache.misses == 4


def test_a_style_bank_does_not_depend_on_how_the_images_come_together(
    scenes: Scenes, encoder: CountingSegmenter, tmp_path: Path
) -> None:
    real, prepare = PackedDataset.open(scenes.real), style_decoder((24, 32))
    samples = list(real.read(real.index.shards[0].name))
    examples = [prepare(sample, np.random.default_rng(0)) for sample in samples]
    banks = []
    for name, sizes in (("together", [4]), ("apart", [1, 2, 1])):
        rest = iter(examples)
        collect_styles(str(tmp_path / name), (stacked(list(islice(rest, size))) for size in sizes), encoder)
        keys, moments = read_styles(str(tmp_path / name))
        assert keys == [sample.key for sample in samples]
        banks.append(moments)
    assert all(torch.equal(one, other) for one, other in zip(*banks, strict=True))
    assert len(banks[0].class_mass) == 4
