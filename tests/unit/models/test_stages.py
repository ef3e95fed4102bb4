"""What every stage promises: identity, bounds, radius, gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dakpn.config import (
    GammaConfig,
    GaussianBlurConfig,
    HsvAffineConfig,
    LabAffineConfig,
    NoiseConfig,
    RgbAffineConfig,
    SymmetricKernelConfig,
)
from dakpn.models.function.stages import Stage, build_stage

STAGES = {
    config.kind + str(getattr(config, "size", "")): build_stage(config)
    for config in (
        HsvAffineConfig(),
        GaussianBlurConfig(max_sigma=1.0),
        NoiseConfig(),
        RgbAffineConfig(),
        LabAffineConfig(max_gain=1.1, max_bias=0.02),
        GammaConfig(),
        SymmetricKernelConfig(size=3),
        SymmetricKernelConfig(size=5),
    )
}
every_stage = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())


def constant(values: tuple[float, ...], size: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1).expand(1, -1, *size).contiguous()


def random_image(size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@every_stage
def test_declares_one_identity_and_one_bound_a_param(stage: Stage):
    assert len(stage.names) == len(set(stage.names)) == len(stage.identity) == len(stage.low) == len(stage.high)
    assert all(low <= value <= high for low, value, high in zip(stage.low, stage.identity, stage.high, strict=True))


@every_stage
def test_identity_params_change_nothing(stage: Stage):
    image = (random_image((9, 8)) * 255).round() / 255
    image[..., :3, :] = image[:, :1, :3, :]  # greys
    image[..., 0, 0], image[..., 0, 1] = 0, 1
    output = stage.apply(image, constant(stage.identity, (9, 8)), torch.randn_like(image))
    assert (output - image).abs().max() < 1e-9


@every_stage
@given(value=st.floats(allow_nan=False))
def test_no_raw_value_leaves_the_bounds(stage: Stage, value: float):
    params = stage.bound(constant((value,) * len(stage.names), (1, 1)).float()).flatten()
    low, high = torch.tensor(stage.low), torch.tensor(stage.high)
    assert ((params >= low - 1e-6) & (params <= high + 1e-6)).all()


@every_stage
def test_every_bound_can_be_approached(stage: Stage):
    for raw, bound in ((-50.0, stage.low), (50.0, stage.high)):
        reached = stage.bound(constant((raw,) * len(stage.names), (1, 1))).flatten()
        assert torch.allclose(reached, torch.tensor(bound, dtype=torch.float64), atol=1e-6)


@every_stage
def test_the_declared_radius_is_the_reach(stage: Stage):
    image = random_image((25, 25)).requires_grad_()
    params = stage.bound(torch.randn(1, len(stage.names), 25, 25, dtype=torch.float64) + 2)
    stage.apply(image, params, torch.zeros_like(image))[0, :, 12, 12].sum().backward()
    reach = (image.grad[0].abs().amax(0).nonzero() - 12).abs().max()
    assert reach <= stage.radius


@every_stage
def test_gradients_match_finite_differences(stage: Stage):
    generator = torch.Generator().manual_seed(3)
    image = (0.2 + 0.6 * random_image((4, 5))).requires_grad_()
    raw = torch.randn(1, len(stage.names), 4, 5, dtype=torch.float64, generator=generator).requires_grad_()
    noise = torch.randn(image.shape, dtype=torch.float64, generator=generator)

    def apply(image, raw):
        return stage.apply(image, stage.bound(raw), noise)

    assert torch.autograd.gradcheck(apply, (image, raw), eps=1e-7, atol=1e-5)


@every_stage
def test_gradients_are_finite_on_awkward_colors(stage: Stage):
    colors = [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (1, 1, 0), (0, 1, 1), (0.2, 0.9, 0.2)]
    image = torch.tensor(colors, dtype=torch.float32).T.reshape(1, 3, 1, -1).requires_grad_()
    raw = torch.zeros(1, len(stage.names), 1, len(colors), requires_grad=True)
    stage.apply(image, stage.bound(raw), torch.ones_like(image)).sum().backward()
    assert image.grad.isfinite().all()
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_predicted_kernel_is_symmetric_and_does_not_move_a_delta(size):
    stage = build_stage(SymmetricKernelConfig(size=size))
    raw = 3 * torch.randn(1, len(stage.names), 1, 1, generator=torch.Generator().manual_seed(size))
    delta = torch.zeros(1, 3, 15, 15)
    delta[..., 7, 7] = 1
    output = stage.apply(delta, stage.bound(raw).expand(-1, -1, 15, 15), delta)[0, 0]
    assert output.argmax() == 7 * 15 + 7
    assert torch.allclose(output, output.flip(0, 1), atol=1e-7)
    assert output.sum() == pytest.approx(1.0)
