"""The adversarial task: who gets which gradient, what stays frozen, and that the game goes the right way."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.config import AdversarialConfig, DiscriminatorConfig, HsvAffineConfig, ScheduleConfig, TranslationConfig
from dakpn.datasets import manifest
from dakpn.datasets.shards import read_shard
from dakpn.images import codec
from dakpn.models.function.color import hsv_to_rgb, rgb_to_hsv
from dakpn.models.function.noise import keyed_noise
from dakpn.models.function.translation import upsample_params
from dakpn.training.adversarial import (
    AdversarialTask,
    adversarial_state,
    build_schedule,
    learning_rate_factor,
    sample_grid,
)
from dakpn.training.data import AdversarialBatch, PatchWindow, RealBatch, SyntheticBatch
from dakpn.training.loop import Step
from dakpn.training.losses import ADVERSARIAL_LOSSES
from dakpn.training.state import ExponentialMovingAverage
from tests.scenes import Scenes
from tests.unit.training.tiny import FULL, LOW, PATCH, adversarial_batch, doubled, tiny_predictor, tiny_task

COLOR_ONLY = TranslationConfig(stages=(HsvAffineConfig(),))


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def noise_like(images: Tensor, seeds: Tensor) -> Tensor:
    size = (images.shape[-2], images.shape[-1])
    return torch.stack([keyed_noise(seed, size) for seed in seeds.tolist()]).to(images.dtype)


def both_objectives(task: AdversarialTask, batch: AdversarialBatch) -> tuple[Tensor, Tensor]:
    """Both losses written down from their definition: (discriminators', predictor's)."""
    function, loss = task.predictor.function, ADVERSARIAL_LOSSES[task.config.loss]
    synthetic, seeds = batch.synthetic, batch.synthetic.noise_seed
    params = task.predictor(synthetic.low)
    windows = [
        upsample_params(one[None], FULL)[..., top : top + PATCH[0], left : left + PATCH[1]]
        for one, (top, left) in zip(params, synthetic.window.corner.tolist(), strict=True)
    ]
    patch = function.apply(synthetic.patch, torch.cat(windows), noise_like(synthetic.patch, 2 * seeds))
    shrunk = params.clone()
    shrunk[:, 6:] = params[:, 6:] * (LOW[0] / FULL[0])  # blur and noise
    whole = function.apply(synthetic.low, shrunk, noise_like(synthetic.low, 2 * seeds + 1))
    sides = (
        (task.patch_discriminator, patch, batch.real.patch),
        (task.whole_discriminator, whole, batch.real.low),
    )
    judged = [(judge(real), judge(translated)) for judge, translated, real in sides]
    discriminators = torch.stack([loss.discriminator(real, translated) for real, translated in judged]).sum()
    return discriminators, torch.stack([loss.predictor(translated) for _, translated in judged]).sum()


@pytest.mark.parametrize("loss", ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
@pytest.mark.parametrize("players", ["two_sided", "reversal"])
def test_each_network_gets_the_gradient_of_its_own_objective_and_nothing_of_the_others(
    players: Any, shared: bool, loss: Any
) -> None:
    task = tiny_task(shared=shared, players=players, loss=loss, identity_weight=0.0).double()
    batch = doubled(adversarial_batch(3))
    task(batch)["loss"].backward()
    head, judges = gradients(task.predictor.head), gradients(task.patch_discriminator)
    judges += gradients(task.whole_discriminator)

    discriminators_loss, predictor_loss = both_objectives(task, batch)
    # The predictor's objective under reversal is the discriminators' loss, upside down.
    predictor_objective = predictor_loss if players == "two_sided" else -discriminators_loss
    head_parameters = list(task.predictor.head.parameters())
    expected_head = torch.autograd.grad(predictor_objective, head_parameters, retain_graph=True)
    judge_parameters = [*task.patch_discriminator.parameters(), *task.whole_discriminator.parameters()]
    expected_judges = torch.autograd.grad(discriminators_loss, judge_parameters)
    for found, expected in zip([*head, *judges], [*expected_head, *expected_judges], strict=True):
        # A convolution's bias before an instance normalization has no gradient but rounding.
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
    cut = [(slice(top, top + PATCH[0]), slice(left, left + PATCH[1])) for top, left in ((0, 3), (8, 16))]
    window = PatchWindow(torch.tensor([FULL, FULL]), torch.tensor([[rows.start, cols.start] for rows, cols in cut]))
    patch = torch.stack([image[:, *where] for image, where in zip(images, cut, strict=True)])
    batch = adversarial_batch(5)
    synthetic = replace(batch.synthetic, low=F.interpolate(images, LOW, mode="area"), patch=patch, window=window)
    batch = replace(batch, synthetic=synthetic)
    params = upsample_params(task.predictor(synthetic.low), FULL)
    translated = task.predictor.function.apply(images, params, torch.zeros_like(images))
    patches = torch.stack([image[:, *where] for image, where in zip(translated, cut, strict=True)])
    expected = F.mse_loss(patches, patch)
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


def test_the_r1_penalty_is_due_every_few_steps_and_reaches_the_discriminators_alone() -> None:
    batch = doubled(adversarial_batch(3))
    found = {}
    for weight, step in ((0.0, 8), (0.5, 8), (1.0, 8), (0.5, 7)):
        task = tiny_task(r1_weight=weight, r1_every=4).double()
        terms = task(batch, Step(step))
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
        terms = tiny_task(r1_weight=1.0, r1_every=every).double()(batch, Step(0))
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
    """The domain gap to be learned: half the brightness, less color."""
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
        numbers = torch.zeros(4, dtype=torch.int64)
        window = PatchWindow(torch.tensor([size] * 4), torch.tensor([(top, left)] * 4))
        batch = AdversarialBatch(
            SyntheticBatch(lows[ours], images[ours][patch], window, numbers, numbers, numbers),
            RealBatch(darker(lows)[theirs], darker(images)[theirs][patch]),
        )
        optimizer.zero_grad()
        task(batch)["loss"].backward()
        optimizer.step()

    with torch.no_grad():
        translated = predictor.function.apply(lows, predictor(lows), torch.zeros_like(lows))
    gap_before = (lows.mean() - darker(lows).mean()).abs()
    gap_after = (translated.mean() - darker(lows).mean()).abs()
    assert gap_before > 0.1
    assert gap_after < 0.5 * gap_before, f"brightness gap {gap_before:.3f} before, {gap_after:.3f} after"


def test_what_is_only_looked_at_is_left_out_of_a_step_without_a_report() -> None:
    task, batch = tiny_task(), adversarial_batch(0)
    looked_at = {"saturated_pixels", "inverted_hue", "params_at_bounds"}
    looked_at |= {f"discriminator_accuracy/{name}" for name in ("patch", "whole")}
    reported, silent = task(batch, Step(0)), task(batch, Step(0, reported=False))
    assert reported.keys() - silent.keys() == looked_at
    assert all(torch.equal(reported[name], silent[name]) for name in silent)


def rows(picture: np.ndarray) -> list[np.ndarray]:
    """The first image of each row of a picture of samples."""
    height, width = LOW
    return [picture[top : top + height, :width] for top in (0, height + 4, 2 * (height + 4))]


def test_rows_of_the_samples_are_synthetic_translated_and_real() -> None:
    task, batch = tiny_task(), adversarial_batch(0)
    picture = sample_grid(task, None, batch)
    assert picture.shape == (3 * LOW[0] + 2 * 4, 2 * LOW[1] + 4, 3)
    synthetic, translated, real = rows(picture)
    for row, images in ((synthetic, batch.synthetic.low), (real, batch.real.low)):
        assert np.array_equal(row, (images[0] * 255).round().byte().permute(1, 2, 0).numpy())
    assert not np.array_equal(translated, synthetic)
    assert np.array_equal(sample_grid(task, None, batch), picture)


def test_the_translated_row_shows_what_will_be_the_weights() -> None:
    task, batch = tiny_task(), adversarial_batch(0)
    average = ExponentialMovingAverage(task.predictor, 0.9)
    before = rows(sample_grid(task, average, batch))[1]
    with torch.no_grad():
        task.predictor.head.bias += 3
    assert np.array_equal(rows(sample_grid(task, average, batch))[1], before)
    assert not np.array_equal(rows(sample_grid(task, None, batch))[1], before)


@pytest.mark.parametrize("shared", [False, True])
def test_every_trainable_param_has_one_optimizer(shared: bool) -> None:
    task = tiny_task(shared=shared)
    state = adversarial_state(task, AdversarialConfig())
    held = [id(p) for optimizer in state.optimizers.values() for g in optimizer.param_groups for p in g["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in task.parameters() if p.requires_grad}


def test_rates_and_schedules_go_to_their_network() -> None:
    config = AdversarialConfig(
        steps=10,
        predictor_learning_rate=0.1,
        discriminator_learning_rate=0.2,
        predictor_schedule=ScheduleConfig(warm_up_steps=3),
        discriminator_schedule=ScheduleConfig(decay="linear", decay_from=0.0),
        betas=(0.3, 0.9),
    )
    state = adversarial_state(tiny_task(), config)
    rates = []
    for _ in range(5):
        rates.append([state.optimizers[p].param_groups[0]["lr"] for p in ("predictor", "discriminator")])
        for network, optimizer in state.optimizers.items():
            optimizer.step()
            state.schedulers[network].step()
    assert [pair[0] for pair in rates] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert [pair[1] for pair in rates] == pytest.approx([0.2, 0.18, 0.16, 0.14, 0.12])
    assert all(optimizer.param_groups[0]["betas"] == (0.3, 0.9) for optimizer in state.optimizers.values())


def factors(steps: int, **values: object) -> list[float]:
    config = ScheduleConfig.model_validate(values)
    return [learning_rate_factor(config, step, steps) for step in range(steps)]


def test_by_default_the_rate_stays() -> None:
    assert factors(10) == [1.0] * 10


def test_warm_up_rises_linearly_and_never_starts_at_zero() -> None:
    assert factors(6, warm_up_steps=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decay_begins_and_ends_where_it_should(decay: str) -> None:
    found = factors(100, decay=decay, decay_from=0.4, final_factor=0.1)
    assert found[:41] == [1.0] * 41
    assert found[40:] == sorted(found[40:], reverse=True)
    assert found[70] == pytest.approx(0.55)  # half way down
    assert 0.1 < found[99] < 0.12
    config = ScheduleConfig.model_validate({"decay": decay, "decay_from": 0.4, "final_factor": 0.1})
    assert learning_rate_factor(config, 1000, 100) == pytest.approx(0.1)


def test_decay_that_begins_at_the_end_never_happens() -> None:
    assert factors(5, decay="linear", decay_from=1.0) == [1.0] * 5


def test_the_optimizer_gets_the_rate_of_each_step() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = build_schedule(ScheduleConfig(warm_up_steps=1, decay="linear", decay_from=0.5), optimizer, 4)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.25, 0.5, 0.5, 0.25])
