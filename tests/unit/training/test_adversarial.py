"""The adversarial task: who gets which gradient, what stays frozen, and that the game goes the right way."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.config import AdversarialConfig, DiscriminatorConfig, HsvAffineConfig, TranslationConfig
from dakpn.data import codec, manifest
from dakpn.data.shards import read_shard
from dakpn.models.color import hsv_to_rgb, rgb_to_hsv
from dakpn.models.translation import upsample_params
from dakpn.training.adversarial import AdversarialTask
from dakpn.training.losses import ADVERSARIAL_LOSSES
from tests.scenes import Scenes
from tests.unit.training.tiny import FULL, LOW, PATCH, Batch, adversarial_batch, tiny_predictor, tiny_task

COLOR_ONLY = TranslationConfig(stages=(HsvAffineConfig(),))


def doubled(batch: Batch) -> Batch:
    """The batch in float64, so that gradients can be compared closely."""
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in batch.items()}


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def players_objectives(task: AdversarialTask, batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
    """Both players' losses written down from their definition: (discriminators', predictor's)."""
    torch.manual_seed(seed)
    function, loss = task.predictor.function, ADVERSARIAL_LOSSES[task.config.loss]
    params = task.predictor(batch["synthetic_low"])
    windows = [
        upsample_params(one[None], FULL)[..., top : top + PATCH[0], left : left + PATCH[1]]
        for one, (_, _, top, left, _, _) in zip(params, batch["synthetic_window"].tolist(), strict=True)
    ]
    patch = batch["synthetic_patch"]
    patch = function.apply(patch, torch.cat(windows), torch.randn_like(patch))
    whole = batch["synthetic_low"]
    whole = function.apply(whole, params, torch.randn_like(whole))
    sides = (
        (task.patch_discriminator, patch, batch["real_patch"]),
        (task.whole_discriminator, whole, batch["real_low"]),
    )
    judged = [(judge(real), judge(translated)) for judge, translated, real in sides]
    discriminators = torch.stack([loss.discriminator(real, translated) for real, translated in judged]).sum()
    return discriminators, torch.stack([loss.predictor(translated) for _, translated in judged]).sum()


@pytest.mark.parametrize("loss", ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
@pytest.mark.parametrize("players", ["two_sided", "reversal"])
def test_each_player_gets_the_gradient_of_its_own_objective_and_nothing_of_the_others(
    players: Any, shared: bool, loss: Any
) -> None:
    task = tiny_task(shared=shared, players=players, loss=loss, identity_weight=0.0).double()
    batch = doubled(adversarial_batch(3))
    torch.manual_seed(11)
    task(batch)["loss"].backward()
    head, judges = gradients(task.predictor.head), gradients(task.patch_discriminator)
    judges += gradients(task.whole_discriminator)

    discriminators_loss, predictor_loss = players_objectives(task, batch, seed=11)
    # The predictor's objective under reversal is the discriminators' loss, upside down.
    predictor_objective = predictor_loss if players == "two_sided" else -discriminators_loss
    head_parameters = list(task.predictor.head.parameters())
    expected_head = torch.autograd.grad(predictor_objective, head_parameters, retain_graph=True)
    judge_parameters = [*task.patch_discriminator.parameters(), *task.whole_discriminator.parameters()]
    expected_judges = torch.autograd.grad(discriminators_loss, judge_parameters)
    for found, expected in zip([*head, *judges], [*expected_head, *expected_judges], strict=True):
        # A convolution's bias before an instance normalisation has no gradient but rounding.
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-12)
    assert max(float(g.abs().max()) for g in expected_head) > 1e-6
    assert max(float(g.abs().max()) for g in expected_judges) > 1e-6


def test_the_identity_loss_reaches_the_predictor_alone() -> None:
    batch = doubled(adversarial_batch(0))
    found = {}
    for weight in (0.0, 5.0):
        task = tiny_task(identity_weight=weight).double()
        torch.manual_seed(2)
        task(batch)["loss"].backward()
        found[weight] = (gradients(task.predictor.head), gradients(task.patch_discriminator))
    assert not torch.allclose(found[0.0][0][0], found[5.0][0][0])
    assert all(torch.equal(a, b) for a, b in zip(found[0.0][1], found[5.0][1], strict=True))


@pytest.mark.parametrize("players", ["two_sided", "reversal"])
def test_training_leaves_the_encoder_and_its_batch_statistics_untouched(players: Any) -> None:
    task = tiny_task(players=players)
    before = {name: tensor.clone() for name, tensor in task.predictor.encoder.state_dict().items()}
    head = task.predictor.head.weight.detach().clone()
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)  # all there are: what is frozen must not move even so
    task.train()
    for step in range(3):
        optimizer.zero_grad()
        task(adversarial_batch(step))["loss"].backward()
        optimizer.step()
    after = task.predictor.encoder.state_dict()
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(head, task.predictor.head.weight)


def test_a_patch_is_translated_with_its_own_window_of_the_full_res_params() -> None:
    """Without blur and noise, translating a patch must equal cutting it out of the translated image."""
    task = tiny_task(translation=COLOR_ONLY)
    images = torch.rand(2, 3, *FULL, generator=torch.Generator().manual_seed(5))
    batch = adversarial_batch(5)
    cut = [(slice(top, top + PATCH[0]), slice(left, left + PATCH[1])) for top, left in ((0, 3), (8, 16))]
    batch["synthetic_window"] = torch.tensor([[*FULL, rows.start, columns.start, *PATCH] for rows, columns in cut])
    batch["synthetic_patch"] = torch.stack([image[:, *where] for image, where in zip(images, cut, strict=True)])
    batch["synthetic_low"] = F.interpolate(images, LOW, mode="area")
    params = upsample_params(task.predictor(batch["synthetic_low"]), FULL)
    translated = task.predictor.function.apply(images, params, torch.zeros_like(images))
    patches = torch.stack([image[:, *where] for image, where in zip(translated, cut, strict=True)])
    expected = F.mse_loss(patches, batch["synthetic_patch"])
    assert expected > 1e-4
    torch.testing.assert_close(task(batch)["identity"], expected)


def test_a_shared_discriminator_is_one_and_separate_ones_are_two() -> None:
    shared, separate = tiny_task(shared=True), tiny_task(shared=False)
    assert shared.whole_discriminator is shared.patch_discriminator
    sizes = [sum(p.numel() for p in task.parameters() if p.requires_grad) for task in (shared, separate)]
    one = sum(p.numel() for p in separate.patch_discriminator.parameters())
    assert sizes[1] - sizes[0] == one
    pairs = zip(separate.patch_discriminator.parameters(), separate.whole_discriminator.parameters(), strict=True)
    assert not any(patch is whole for patch, whole in pairs)


def test_the_log_tells_accuracy_of_a_discriminator_that_knows_and_of_one_that_does_not() -> None:
    task = tiny_task()
    last = task.patch_discriminator.layers[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, -1.0)  # calls everything translated  # pyright: ignore[reportArgumentType]
    terms = task(adversarial_batch(0))
    assert terms["discriminator_accuracy/patch"] == 0.5
    assert not any(term.requires_grad for name, term in terms.items() if name != "loss")


def darker(images: Tensor) -> Tensor:
    """The domain gap to be learned: half the brightness, less colour."""
    hsv = rgb_to_hsv(images) * torch.tensor([1.0, 0.7, 0.5]).view(3, 1, 1)
    return hsv_to_rgb(hsv)


@pytest.mark.parametrize("players", ["two_sided", "reversal"])
def test_a_few_steps_move_the_images_towards_the_real_ones(scenes: Scenes, players: Any) -> None:
    index = manifest.read_index(scenes.synthetic)
    samples = [s for shard in index.shards for s in read_shard(manifest.shard_uri(scenes.synthetic, shard.name))]
    pictures = [codec.decode_image(sample.image, sample.key) for sample in samples]
    images = torch.stack([torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]).float() / 255
    lows = F.interpolate(images, LOW, mode="area")
    size = tuple(images.shape[-2:])

    torch.manual_seed(0)
    predictor = tiny_predictor(spread=0.0, translation=COLOR_ONLY)
    adversarial = AdversarialConfig(players=players, identity_weight=0.0, patch_size=PATCH)
    task = AdversarialTask(predictor, adversarial, DiscriminatorConfig(widths=(8, 16), normalization="none"))
    judges = [p for name, p in task.named_parameters() if "discriminator" in name]
    optimizer = torch.optim.Adam(
        [{"params": predictor.head.parameters(), "lr": 2e-2}, {"params": judges, "lr": 2e-3}], betas=(0.5, 0.999)
    )
    rng = torch.Generator().manual_seed(1)
    for _ in range(60):
        ours, theirs = (torch.randint(0, len(images), (4,), generator=rng) for _ in range(2))
        top, left = 16, 24
        patch = (..., slice(top, top + PATCH[0]), slice(left, left + PATCH[1]))
        batch = {
            "synthetic_low": lows[ours],
            "synthetic_patch": images[ours][patch],
            "synthetic_window": torch.tensor([[*size, top, left, *PATCH]] * 4),
            "real_low": darker(lows)[theirs],
            "real_patch": darker(images)[theirs][patch],
        }
        optimizer.zero_grad()
        task(batch)["loss"].backward()
        optimizer.step()

    with torch.no_grad():
        translated = predictor.function.apply(lows, predictor(lows), torch.zeros_like(lows))
    gap_before = (lows.mean() - darker(lows).mean()).abs()
    gap_after = (translated.mean() - darker(lows).mean()).abs()
    assert gap_before > 0.1
    assert gap_after < 0.5 * gap_before, f"brightness gap {gap_before:.3f} before, {gap_after:.3f} after"
