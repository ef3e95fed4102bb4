"""The folded gather equals the definition, forward and backward."""

import pytest
import torch

from dakpn.models.function import blur
from dakpn.models.function.blur import StackedGather, gaussian_blur, window_radius
from tests.unit.models.literal import literal_blur


def random_case(height: int, width: int, max_sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    image = torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    sigma = max_sigma * torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    return image, sigma


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (16, 21)])
@pytest.mark.parametrize("max_sigma", [0.5, 1.0, 3.0, 8.0])
def test_equals_the_definition_within_the_cut_of_the_window(size, max_sigma):
    image, sigma = random_case(*size, max_sigma)
    grey_levels = 255 * (gaussian_blur(image, sigma) - literal_blur(image, sigma)).abs().max()
    assert grey_levels < 0.01


def test_equals_the_definition_to_rounding_with_the_full_window():
    image, sigma = random_case(9, 11, 3.0)
    sigma = sigma + 3.0
    assert (gaussian_blur(image, sigma) - literal_blur(image, sigma)).abs().max() < 1e-13


def test_sigma_zero_is_the_identity_to_the_bit():
    image, _ = random_case(8, 9, 1.0)
    assert torch.equal(gaussian_blur(image, torch.zeros_like(image)), image)
    mixed = torch.zeros_like(image)
    mixed[..., :4] = 2.0
    assert torch.equal(gaussian_blur(image, mixed)[..., 4:], image[..., 4:])


def test_gradients_match_finite_differences():
    image, sigma = (values[:1, :2] for values in random_case(4, 5, 1.5))
    image.requires_grad_()
    sigma = (sigma + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_blur, (image, sigma), eps=1e-6, atol=1e-6)


def test_gradient_support_lies_inside_the_radius():
    image = torch.rand(1, 3, 41, 41, requires_grad=True)
    sigma = torch.full_like(image, 1.2)
    gaussian_blur(image, sigma)[0, 1, 20, 20].backward()
    support = image.grad[0].abs().amax(0).nonzero()
    assert (support - 20).abs().max() <= window_radius(1.2)
    assert image.grad[0, 0].abs().max() == 0
    assert image.grad[0, 2].abs().max() == 0


def test_weights_are_centerd_and_do_not_move_a_delta():
    delta = torch.zeros(1, 3, 31, 31)
    delta[..., 15, 15] = 1
    blurred = gaussian_blur(delta, torch.full_like(delta, 2.0))[0, 0]
    assert blurred.argmax() == 15 * 31 + 15
    assert torch.allclose(blurred, blurred.flip(0), atol=1e-7)
    assert torch.allclose(blurred, blurred.flip(1), atol=1e-7)


def test_a_pixel_does_not_depend_on_the_blocks_it_is_computed_in(monkeypatch):
    image, sigma = (values.float() for values in random_case(23, 31, 3.0))
    whole = gaussian_blur(image, sigma)
    monkeypatch.setattr(blur, "_BLOCK_ELEMENTS", 3 * 31 * 2)
    assert torch.equal(gaussian_blur(image, sigma), whole)


def test_not_finite_sigmas_do_not_crash():
    image, sigma = random_case(5, 6, 1.0)
    sigma[0, 0, 0, 0] = float("nan")
    assert gaussian_blur(image, sigma)[0, 0, 0, 0].isnan()


def test_half_precision_from_autocast_is_computed_in_single():
    image, sigma = (values.float() for values in random_case(9, 11, 2.0))
    with torch.autocast("cpu", torch.bfloat16):
        halved = gaussian_blur(image.bfloat16(), sigma.bfloat16())
    assert torch.equal(halved, gaussian_blur(image.bfloat16().float(), sigma.bfloat16().float()))


def test_images_of_a_batch_do_not_depend_on_one_another():
    image, sigma = (values.float() for values in random_case(13, 17, 3.0))
    sigma[1] /= 10
    together = gaussian_blur(image, sigma)
    assert torch.equal(together, torch.cat([gaussian_blur(image[i : i + 1], sigma[i : i + 1]) for i in range(2)]))


@pytest.mark.parametrize(("radius", "max_sigma"), [(4, 1.0), (12, 3.0), (12, 8.0)])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (16, 21)])
def test_the_form_for_gpus_equals_the_form_for_cpus_forward_and_backward(radius, max_sigma, size):
    image, sigma = random_case(*size, max_sigma)
    sigma[0, :, ::2] = 0
    weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for form in (gaussian_blur, lambda *case: StackedGather.apply(*case, radius)):
        case = [values.clone().requires_grad_() for values in (image, sigma)]
        blurred = form(*case)
        found.append((blurred.detach(), *torch.autograd.grad((weight * blurred).sum(), case)))
    for cpu, gpu in zip(*found, strict=True):
        assert (cpu - gpu).abs().max() < 1e-12
    assert found[0][1].abs().max() > 0.1
    assert size == (1, 1) or found[0][2].abs().max() > 1e-3
    assert torch.equal(found[1][0][0, :, ::2], image[0, :, ::2])
