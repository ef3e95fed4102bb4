"""The logit cache: what it answers, what it keeps, and that training with it is training without it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dakpn.config import SmallNetworkConfig
from dakpn.data import manifest
from dakpn.data.shards import read_shard
from dakpn.data.training_samples import synthetic_example
from dakpn.models.segmenter import SmallSegmenter
from dakpn.training.batches import batched
from dakpn.training.feature_cache import LogitCache, key_number, with_key
from tests.scenes import Scenes
from tests.unit.training.tiny import adversarial_batch, tiny_task

CLASSES = 4
PLENTY = 2**20
IMAGE_BYTES = CLASSES * 6 * 8 * 2  # a 24 x 32 image on the grid of stride 4, in fp16


class CountingSegmenter(SmallSegmenter):
    """Counts the images that go through it."""

    seen = 0

    def coarse_logits(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return super().coarse_logits(images)


@pytest.fixture
def encoder() -> CountingSegmenter:
    torch.manual_seed(0)
    network = CountingSegmenter(SmallNetworkConfig(widths=(4, 4, 8, 8)), CLASSES)
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


def test_key_numbers_are_known_and_fit_an_int64() -> None:
    numbers = {key_number(f"images/{i}.png") for i in range(1000)}
    assert len(numbers) == 1000
    assert 0 <= min(numbers) <= max(numbers) < 2**63
    assert key_number("a") == 0x655E_8DE5_0940_CBE5  # the same in every process: not Python's salted hash


def test_batches_of_a_dataset_carry_keys_and_get_logits(scenes: Scenes, encoder: CountingSegmenter) -> None:
    index = manifest.read_index(scenes.synthetic)
    samples = [s for shard in index.shards for s in read_shard(manifest.shard_uri(scenes.synthetic, shard.name))][:4]
    prepare = with_key(synthetic_example((24, 32), (16, 16)))
    cache = LogitCache(encoder, PLENTY)
    batches = cache.added_to(batched(iter(samples + samples), prepare, 4, seed=0, rank=0))
    first, second = next(batches), next(batches)
    assert first["synthetic_key"].dtype == torch.int64
    assert first["synthetic_key"].tolist() == [key_number(sample.key) for sample in samples]
    assert torch.equal(first["synthetic_logits"], second["synthetic_logits"])
    assert encoder.seen == 4
    expected = encoder.coarse_logits(first["synthetic_low"])
    torch.testing.assert_close(first["synthetic_logits"], expected, rtol=2**-10, atol=1e-4)


def test_the_task_computes_the_same_with_known_logits_and_does_not_ask_the_encoder() -> None:
    task, batch = tiny_task(), adversarial_batch(0)
    cache = LogitCache(task.predictor.encoder, PLENTY)
    keyed = {**batch, "synthetic_key": torch.from_numpy(np.arange(2))}
    with_logits = next(cache.added_to(iter([keyed])))
    found = {}
    for name, shown in (("asked", batch), ("known", with_logits)):
        torch.manual_seed(1)
        task.zero_grad()
        terms = task(shown)
        terms["loss"].backward()
        gradient = task.predictor.head.weight.grad
        assert gradient is not None
        found[name] = (terms["loss"].detach(), gradient.clone())
    torch.testing.assert_close(found["known"], found["asked"], rtol=1e-3, atol=1e-4)
    task.predictor.encoder = torch.nn.Identity()  # has no logits to ask for
    task(with_logits)
