"""Keyed noise: normal, different for every key, the same in every tile."""

import numpy as np
import torch

from dakpn.models.function.noise import keyed_noise, noise_seed, seeded_noise, seeded_shares


def test_is_standard_normal_and_uncorrelated():
    noise = keyed_noise(noise_seed("a"), (300, 400)).numpy()
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    for moved in (np.roll(noise, 1, 1), np.roll(noise, 1, 2), np.roll(noise, 1, 0)):
        assert abs((noise * moved).mean()) < 0.01
    assert abs((np.abs(noise) < 1).mean() - 0.6827) < 0.005
    assert abs((np.abs(noise) < 2).mean() - 0.9545) < 0.005


def test_a_window_equals_the_same_region_of_the_whole():
    seed = noise_seed("train/0001")
    whole = keyed_noise(seed, (50, 70))
    assert np.array_equal(keyed_noise(seed, (50, 70), (10, 20, 15, 30)), whole[:, 10:25, 20:50])


def test_keys_and_draws_differ_and_repeat():
    first = keyed_noise(noise_seed("a"), (20, 20))
    assert np.array_equal(first, keyed_noise(noise_seed("a"), (20, 20)))
    for other in (noise_seed("b"), noise_seed("a", draw=1)):
        assert abs((first * keyed_noise(other, (20, 20))).mean()) < 0.2


def test_values_do_not_depend_on_the_machine():
    red_of_two_by_two = [[0.6597, -1.1452], [-0.5310, -0.4816]]
    assert np.allclose(keyed_noise(noise_seed("golden", 3), (2, 2))[0], red_of_two_by_two, atol=1e-4)


def test_the_noise_of_an_image_in_a_batch_depends_on_its_seed_alone():
    noise = seeded_noise(torch.tensor([5, 6, 5]), (16, 16))
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    torch.manual_seed(1)
    assert torch.equal(seeded_noise(torch.tensor([6]), (16, 16))[0], noise[1])
    assert noise.mean().abs() < 0.1
    assert (noise.std() - 1).abs() < 0.1


def test_the_noise_of_a_batch_equals_that_of_each_image_to_the_bit():
    seeds = [0, 1, 2**32 + 5, 2**63 - 1, -3]
    noise = seeded_noise(torch.tensor(seeds), (7, 11))
    assert noise.shape == (5, 3, 7, 11)
    for seed, image in zip(seeds, noise, strict=True):
        assert torch.equal(image, keyed_noise(seed, (7, 11)))


def test_shares_are_even_independent_and_a_function_of_the_seed_alone():
    shares = seeded_shares(torch.arange(4000), (0, 1, 2))
    assert shares.min() >= 0
    assert shares.max() < 1
    quarters = torch.stack([(shares < bound / 4).float().mean(0) for bound in (1, 2, 3)])
    assert (quarters - torch.tensor([[0.25], [0.5], [0.75]])).abs().max() < 0.03
    assert torch.corrcoef(shares.T).fill_diagonal_(0).abs().max() < 0.05
    assert torch.equal(seeded_shares(torch.tensor([7]), (2, 2))[0], shares[7, 2].expand(2))
