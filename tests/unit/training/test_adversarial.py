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
from dakpn.training.adversarial import AdversarialTask, seeded_noise
from dakpn.training.losses import ADVERSARIAL_LOSSES
from tests.scenes import Scenes
from tests.unit.training.tiny import FULL, LOW, PATCH, Batch, adversarial_batch, tiny_predictor, tiny_task

COLOR_ONLY = TranslationConfig(stages=(HsvAffineConfig(),))


def doubled(batch: Batch) -> Batch:
    """The batch in float64, so that gradients can be compared closely."""
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in batch.items()}


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def players_objectives(task: AdversarialTask, batch: Batch) -> tuple[Tensor, Tensor]:
    """Both players' losses written down from their definition: (discriminators', predictor's)."""
    function, loss = task.predictor.function, ADVERSARIAL_LOSSES[task.config.loss]
    params = task.predictor(batch["synthetic_low"])
    windows = [
        upsample_params(one[None], FULL)[..., top : top + PATCH[0], left : left + PATCH[1]]
        for one, (_, _, top, left, _, _) in zip(params, batch["synthetic_window"].tolist(), strict=True)
    ]
    patch = batch["synthetic_patch"]
    noise_seeds = batch["synthetic_noise"]
    patch = function.apply(patch, torch.cat(windows), seeded_noise(2 * noise_seeds, patch))
    whole = batch["synthetic_low"]
    shrunk = params.clone()
    shrunk[:, 6:] = params[:, 6:] * (LOW[0] / FULL[0])  # blur and noise
    whole = function.apply(whole, shrunk, seeded_noise(2 * noise_seeds + 1, whole))
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
    task(batch)["loss"].backward()
    head, judges = gradients(task.predictor.head), gradients(task.patch_discriminator)
    judges += gradients(task.whole_discriminator)

    discriminators_loss, predictor_loss = players_objectives(task, batch)
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


def test_the_noise_of_an_image_depends_on_its_seed_alone() -> None:
    images = torch.zeros(3, 3, *PATCH)
    noise = seeded_noise(torch.tensor([5, 6, 5]), images)
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    torch.manual_seed(1)
    assert torch.equal(seeded_noise(torch.tensor([6]), images[:1])[0], noise[1])
    assert noise.mean().abs() < 0.1
    assert (noise.std() - 1).abs() < 0.1


def test_the_r1_penalty_is_due_every_few_steps_and_reaches_the_discriminators_alone() -> None:
    batch = doubled(adversarial_batch(3))
    found = {}
    for weight, step in ((0.0, 8), (0.5, 8), (1.0, 8), (0.5, 7)):
        task = tiny_task(r1_weight=weight, r1_every=4).double()
        terms = task({**batch, "step": torch.tensor(step)})
        assert ("r1/patch" in terms) is (weight > 0 and step == 8)
        terms["loss"].backward()
        found[weight, step] = (gradients(task.predictor.head)[0], gradients(task.patch_discriminator)[0])
    none, half, whole, between = (found[key] for key in found)
    assert all(torch.equal(none[0], head) for head in (half[0], whole[0], between[0]))
    torch.testing.assert_close(whole[1] - none[1], 2 * (half[1] - none[1]))
    assert not torch.allclose(half[1], none[1])
    torch.testing.assert_close(between[1], none[1])


def test_the_lazy_penalty_weighs_as_much_as_one_in_every_step() -> None:
    batch = doubled(adversarial_batch(3))
    losses = []
    for every in (1, 4):
        terms = tiny_task(r1_weight=1.0, r1_every=every).double()({**batch, "step": torch.tensor(0)})
        without = tiny_task().double()(batch)["loss"]
        losses.append((terms["loss"] - without) / every)
        torch.testing.assert_close(losses[-1], terms["r1/patch"] + terms["r1/whole"])
    torch.testing.assert_close(*losses)


def test_in_bfloat16_the_gradients_stay_float32_and_close() -> None:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        task = tiny_task(r1_weight=1.0, r1_every=1)
        task.compute_dtype = dtype
        terms = task(adversarial_batch(3))
        terms["loss"].backward()
        assert all(p.grad.dtype == torch.float32 for p in task.parameters() if p.grad is not None)
        assert all(term.dtype == torch.float32 for term in terms.values())
        found.append(torch.cat([g.flatten() for g in gradients(task.predictor.head)]))
    exact, rounded = found
    assert not torch.equal(exact, rounded)
    assert F.cosine_similarity(exact, rounded, dim=0) > 0.98


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
            "synthetic_noise": torch.zeros(4, dtype=torch.int64),
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
