"""Sums over class shares in bytes, compiled. Most shares are 0: a class that a row lacks costs it nothing."""

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")
_exact = njit(cache=True, nogil=True, error_model="numpy")
_WHOLE = np.float32(255)


@_compiled
def weighted_sums(shares, weights, start, out):
    """`out[p] = start[p] + sum_c weights[p, c] * shares[c] / 255`.

    Args:
        shares: uint8 [C, h, w].
        weights: float32 [P, C].
        start: float32 [P].
        out: float32 [P, h, w].
    """
    classes, height, width = shares.shape
    share = np.empty(width, np.float32)
    for y in range(height):
        for p in range(len(start)):
            row = out[p, y]
            for x in range(width):
                row[x] = start[p]
        for number in range(classes):
            if not _as_fractions(shares[number, y], share):
                continue
            for p in range(len(start)):
                row, weight = out[p, y], weights[p, number]
                for x in range(width):
                    row[x] += weight * share[x]


@_exact
def mixed(channels, matrix, offset, out):
    """`out[i] = matrix[i, 0] * channels[0] + matrix[i, 1] * channels[1] + matrix[i, 2] * channels[2] + offset`.

    All float32, rounded after each operation, as torch does.

    Args:
        channels: [3, N].
        matrix: [3, 3].
        offset: a number.
        out: [3, N].
    """
    for i in range(3):
        row, first, second, third = out[i], channels[0], channels[1], channels[2]
        a, b, c = matrix[i]
        for x in range(len(row)):
            row[x] = a * first[x] + b * second[x] + c * third[x] + offset


@_compiled
def class_moments(channels, shares, smallest, mass, mean, spread):
    """Moments of each class, as `dakpn.models.style.color_moments` has them.

    Args:
        channels: float32 [3, h, w].
        shares: uint8 [C, h, w].
        smallest: share of the image that is added to a class's in its weights.
        mass: float64 [C], zeros; filled with the share of pixels.
        mean: float64 [C, 3], zeros; filled.
        spread: float64 [C, 3], zeros; filled.
    """
    classes, height, width = shares.shape
    share = np.empty(width, np.float32)
    there = np.zeros((classes, height), np.bool_)
    for number in range(classes):
        for y in range(height):
            there[number, y] = _as_fractions(shares[number, y], share)
            if there[number, y]:
                mass[number] += _total(share)
                for k in range(3):
                    mean[number, k] += _product(share, channels[k, y])
        weight = mass[number] + smallest * height * width
        for k in range(3):
            mean[number, k] /= weight
        for y in range(height):
            if there[number, y]:
                _as_fractions(shares[number, y], share)
                for k in range(3):
                    # Centerd, for a difference of squares would lose the spread of a dark, flat class to rounding.
                    spread[number, k] += _squares(share, channels[k, y], np.float32(mean[number, k]))
        for k in range(3):
            spread[number, k] = np.sqrt(spread[number, k] / weight)
        mass[number] /= height * width


@_compiled
def whole_moments(channels, mean, spread):
    """Mean and spread of all pixels of float32 [3, h, w], into float64 [3] each, zeros before."""
    pixels = channels.shape[1] * channels.shape[2]
    ones = np.ones(channels.shape[2], np.float32)
    for k in range(3):
        for y in range(channels.shape[1]):
            mean[k] += _total(channels[k, y])
        mean[k] /= pixels
        for y in range(channels.shape[1]):
            spread[k] += _squares(ones, channels[k, y], np.float32(mean[k]))
        spread[k] = np.sqrt(spread[k] / pixels)


@_compiled
def _as_fractions(shares, out):
    """The shares of a row in 0..1, and whether there are any; only then are they written."""
    some = np.uint8(0)
    for x in range(len(shares)):
        some |= shares[x]
    if some:
        for x in range(len(shares)):
            out[x] = np.float32(shares[x]) / _WHOLE
    return some != 0


@_compiled
def _total(values):
    total = np.float32(0)
    for x in range(len(values)):
        total += values[x]
    return total


@_compiled
def _product(weights, values):
    total = np.float32(0)
    for x in range(len(weights)):
        total += weights[x] * values[x]
    return total


@_compiled
def _squares(weights, values, center):
    total = np.float32(0)
    for x in range(len(weights)):
        apart = values[x] - center
        total += weights[x] * apart * apart
    return total
