"""The translation function as compiled CPU kernels: uint8 in, uint8 out, params interpolated on the fly.

A band of rows goes through two kernels. `color_rows` writes the stages before the local one into a padded float buffer,
each pixel once; `finish_rows` blurs, applies the stages behind and rounds. Which stages those are is read from a list
(`dakpn.models.function.fused_plan`) once a row. A pixel's value depends on its place in the image alone, not on the
band, block or thread that computes it.

Loops run over contiguous 1-D rows and choose by arithmetic instead of branches, so that the compiler vectorises them.
"""

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from dakpn.models.function.blur import MAX_RADIUS, SIGMAS_IN_WINDOW
from dakpn.models.function.color import (
    BRIGHTEST_CONE,
    CONES_TO_RGB,
    FAINTEST_CHROMA,
    GREY_CHROMA,
    LAST_HUES,
    LOG_CONES_TO_LAB,
    LOG_OFFSET,
    RGB_TO_CONES,
)
from dakpn.models.function.fused_blur import FOLDS, LANES, blur_strip
from dakpn.models.function.fused_stages import (
    GAMMA,
    GAUSSIAN_BLUR,
    HSV_AFFINE,
    LAB_AFFINE,
    NOISE,
    RGB_AFFINE,
    SYMMETRIC_KERNEL,
)
from dakpn.models.function.noise import BITS_PER_CHANNEL, GOLDEN, MIX_1, MIX_2

TILE_ROWS, TILE_COLUMNS = 32, 1024
"""Even, and a multiple of LANES; a tile's buffers should stay in the cache."""
_SCRATCH_ROWS = 3
_F = np.float32
_ZERO, _ONE, _SIX = _F(0), _F(1), _F(6)
_GREY = _F(GREY_CHROMA)
_PRESENCE = _F(1 / FAINTEST_CHROMA)
_FALL_OF_HUE = _F(1 / LAST_HUES - 1)
_OFFSET = _F(LOG_OFFSET)
_DARKEST = _F(1e-3)
_LOG2_OF_10 = _F(np.log2(10))
_LOG2_OF_BRIGHTEST = _F(np.log2(BRIGHTEST_CONE))
_RGB_TO_CONES = np.array(RGB_TO_CONES, np.float32)
_CONES_TO_RGB = np.array(CONES_TO_RGB, np.float32)
_LAB = np.array(LOG_CONES_TO_LAB, np.float32)
_SHIFT = np.uint64(BITS_PER_CHANNEL)

_SOURCES = hashlib.sha256(
    b"".join(
        Path(__file__).with_name(f"{name}.py").read_bytes()
        for name in ("blur", "color", "fused_blur", "fused_plan", "noise")
    )
).hexdigest()[:12]


def _compiled(function):
    """Compile, and keep the result for other processes; numba itself looks for changes in this file alone."""
    function.__qualname__ += f"_{_SOURCES}"
    options = njit(cache=True, nogil=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
    return options(function)


def buffer_size(lines, radius, width):
    """Lines and columns of the buffer that `lines` rows of an image need, with the surroundings that are read."""
    return lines + 2 * radius + 1, -(-width // LANES) * LANES + 2 * MAX_RADIUS


@_compiled
def color_rows(image, stages, params, grid, lines, first_row, seed, quantiles, buffer):
    """Write the stages before the local one for the buffer's lines [lines[0], lines[1]); line 0 is row `first_row`.

    Args:
        image: uint8 [H, W, 3].
        stages: int64 [n, 2], kind and first param of each (`FusedPlan.before`).
        params: float32 [P, h, w], of these stages.
        grid: for rows, then for columns: int64, the lower low-res position of each full-res one, and float32, its
            fraction towards the next.
        lines: first and last line to write. Rows beyond the image repeat its edge.
        first_row: may be negative.
        seed: Seed of the noise, see `dakpn.models.function.noise`.
        quantiles: Quantiles of the noise.
        buffer: float32 [3, *`buffer_size`(rows of a band, radius, W)], edge columns repeated.
    """
    rows, row_fractions, columns, column_fractions = grid
    height, width = image.shape[0], image.shape[1]
    above = np.empty((params.shape[0], TILE_COLUMNS), np.float32)
    below = np.empty((params.shape[0], TILE_COLUMNS), np.float32)
    own = np.empty((params.shape[0], TILE_COLUMNS), np.float32)
    colors = np.empty((3, TILE_COLUMNS), np.float32)
    scratch = _scratch()
    for left in range(0, width, TILE_COLUMNS):
        count = min(TILE_COLUMNS, width - left)
        across = slice(left, left + count)
        held = -1
        for line in range(lines[0], lines[1]):
            y = min(max(first_row + line, 0), height - 1)
            held = _hold(params, rows[y], held, columns[across], column_fractions[across], above, below)
            _interpolate_rows(above, below, row_fractions[y], count, own)
            _read_row(image[y, across], colors)
            _recolor(stages, own, colors, count, scratch, seed, _pixel_number(y, left, width), quantiles)
            for channel in range(3):
                _copy(colors[channel], 0, buffer[channel, line], MAX_RADIUS + left, count)
    for line in range(lines[0], lines[1]):
        for channel in range(3):
            row = buffer[channel, line]
            row[:MAX_RADIUS] = row[MAX_RADIUS]
            row[MAX_RADIUS + width : 2 * MAX_RADIUS + width] = row[MAX_RADIUS + width - 1]


@_compiled
def finish_rows(local, radius, stages, local_params, params, grid, lines, first_row, seed, quantiles, buffer, out):
    """Apply the local stage and those behind it to image rows [lines[0], lines[1]), and write them to `out`.

    Args:
        local: kind of the local stage (`FusedPlan.local`).
        radius: Radius of the local stage.
        stages: int64 [m, 2] (`FusedPlan.after`).
        local_params: float32 [P', h, w], of the local stage; of one param that is not read if there is none.
        params: float32 [P, h, w], of `stages`.
        grid: as for `color_rows`.
        lines: image rows.
        first_row: image row of the buffer's line 0.
        seed: as for `color_rows`.
        quantiles: as for `color_rows`.
        buffer: from `color_rows`; holds `radius` rows around those asked for.
        out: uint8 [H, W, 3].
    """
    rows, row_fractions, columns, column_fractions = grid
    width = out.shape[1]
    local_above = np.empty((local_params.shape[0], TILE_COLUMNS), np.float32)
    local_below = np.empty((local_params.shape[0], TILE_COLUMNS), np.float32)
    above = np.empty((params.shape[0], TILE_COLUMNS), np.float32)
    below = np.empty((params.shape[0], TILE_COLUMNS), np.float32)
    local_rows = TILE_ROWS if local == GAUSSIAN_BLUR else 1
    local_own = np.zeros((local_rows, local_params.shape[0], TILE_COLUMNS), np.float32)
    own = np.empty((params.shape[0], TILE_COLUMNS), np.float32)
    colors = np.empty((TILE_ROWS, 3, TILE_COLUMNS), np.float32)
    folds = np.zeros((TILE_ROWS + 2 * MAX_RADIUS, FOLDS, LANES), np.float32)
    levels = np.empty((3, TILE_COLUMNS), np.uint8)
    scratch = _scratch()
    # Interpolation may exceed the bound by a rounding error, and there are no more than `radius` rows to read.
    largest_sigma = _F(radius / SIGMAS_IN_WINDOW if radius < MAX_RADIUS else np.inf)
    for top in range(lines[0], lines[1], TILE_ROWS):
        bottom = min(top + TILE_ROWS, lines[1])
        first_line = top - first_row
        for left in range(0, width, TILE_COLUMNS):
            count = min(TILE_COLUMNS, width - left)
            across = slice(left, left + count)
            place = (columns[across], column_fractions[across])
            held = -1
            if local == GAUSSIAN_BLUR:
                for y in range(top, bottom):
                    held = _hold(local_params, rows[y], held, *place, local_above, local_below)
                    _interpolate_rows(local_above, local_below, row_fractions[y], count, local_own[y - top])
                np.minimum(local_own, largest_sigma, local_own)
                _blur_tile(buffer, first_line, left, bottom - top, count, local_own, folds, colors)
            elif local == SYMMETRIC_KERNEL:
                for y in range(top, bottom):
                    held = _hold(local_params, rows[y], held, *place, local_above, local_below)
                    _interpolate_rows(local_above, local_below, row_fractions[y], count, local_own[0])
                    line = first_line + y - top
                    _symmetric_row(buffer, line, left, radius, local_own[0], count, scratch, colors[y - top])
            else:
                for n in range(bottom - top):
                    for channel in range(3):
                        _copy(buffer[channel, first_line + n], MAX_RADIUS + left, colors[n, channel], 0, count)
            held = -1
            for y in range(top, bottom):
                held = _hold(params, rows[y], held, *place, above, below)
                _interpolate_rows(above, below, row_fractions[y], count, own)
                row = colors[y - top]
                _recolor(stages, own, row, count, scratch, seed, _pixel_number(y, left, width), quantiles)
                _write_row(row, levels, out[y, across])


@_compiled
def _copy(source, source_at, target, target_at, count):
    for x in range(count):
        target[target_at + x] = source[source_at + x]


@_compiled
def _scratch():
    """Rows for intermediate results: floats, their exponents, hashes."""
    return (
        np.empty((_SCRATCH_ROWS, TILE_COLUMNS), np.float32),
        np.empty(TILE_COLUMNS, np.int32),
        np.empty(TILE_COLUMNS, np.uint64),
    )


@_compiled
def _pixel_number(y, x, width):
    return np.uint64(y) * np.uint64(width) + np.uint64(x)


@_compiled
def _hold(params, row, held, columns, fractions, above, below):
    """Have in `above` and `below` the low-res rows `row` and `row + 1` at the columns of a tile, and return `row`.

    `held` is the row that they have. Columns come first, as in `upsample_params`: many full-res rows share them.
    """
    if row == held:
        return row
    last = params.shape[1] - 1
    for p in range(params.shape[0]):
        if row == held + 1 and held >= 0:
            _copy(below[p], 0, above[p], 0, len(columns))
        else:
            _interpolate_columns(params[p, row], columns, fractions, above[p])
        _interpolate_columns(params[p, min(row + 1, last)], columns, fractions, below[p])
    return row


@_compiled
def _interpolate_columns(param, columns, fractions, out):
    last = len(param) - 1
    for x in range(len(columns)):
        column = columns[x]
        first = param[column]
        out[x] = first + fractions[x] * (param[min(column + 1, last)] - first)


@_compiled
def _interpolate_rows(above, below, fraction, count, out):
    for p in range(len(above)):
        first, second, row = above[p], below[p], out[p]
        for x in range(count):
            row[x] = first[x] + fraction * (second[x] - first[x])


@_compiled
def _read_row(image, colors):
    red, green, blue = colors[0], colors[1], colors[2]
    for x in range(image.shape[0]):
        red[x], green[x], blue[x] = image[x, 0] / _F(255), image[x, 1] / _F(255), image[x, 2] / _F(255)


@_compiled
def _write_row(colors, levels, out):
    """Clamp and round to bytes: first by channel, which vectorises, then in the order of an image."""
    for channel in range(3):
        source, target = colors[channel], levels[channel]
        for x in range(out.shape[0]):
            target[x] = np.uint8(min(max(source[x], _ZERO), _ONE) * _F(255) + _F(0.5))
    red, green, blue = levels[0], levels[1], levels[2]
    for x in range(out.shape[0]):
        out[x, 0], out[x, 1], out[x, 2] = red[x], green[x], blue[x]


@_compiled
def _recolor(stages, params, colors, count, scratch, seed, first_pixel, quantiles):
    """Apply pointwise stages, in their order and in place, to the first `count` of a row of colors, float32 [3, n].

    `params` are float32 [P, n]; `scratch` comes from `_scratch`; `first_pixel` is the number of the first color's
    pixel in the image.
    """
    rows, bits, states = scratch
    for number in range(len(stages)):
        kind, own = stages[number, 0], params[stages[number, 1] :]
        if kind == LAB_AFFINE:
            _lab_affine_row(own, colors, count, rows, bits)
        elif kind == HSV_AFFINE:
            _hsv_affine_row(own, colors, count, rows)
        elif kind == RGB_AFFINE:
            _rgb_affine_row(own, colors, count)
        elif kind == GAMMA:
            _gamma_row(own, colors, count, rows[0], bits)
        elif kind == NOISE:
            _noise_row(own, colors, count, states, seed, first_pixel, quantiles)


@_compiled
def _lab_affine_row(affine, colors, count, scratch, bits):
    """The l-alpha-beta affine in place, cut to 0..1 before and after.

    Logarithms are to base 2 throughout; the bias, to base 10, is scaled to it.
    """
    red, green, blue = colors[0], colors[1], colors[2]
    for c in range(3):
        row = colors[c]
        for x in range(count):
            row[x] = min(max(row[x], _ZERO), _ONE)
    for c in range(3):
        weights, row = _RGB_TO_CONES[c], scratch[c]
        for x in range(count):
            row[x] = weights[0] * red[x] + weights[1] * green[x] + weights[2] * blue[x] + _OFFSET
        _log2_row(row, count, bits)
    long, medium, short = scratch[0], scratch[1], scratch[2]
    for c in range(3):
        weights, gain, bias, row = _LAB[c], affine[c], affine[3 + c], colors[c]
        for x in range(count):
            lab = weights[0] * long[x] + weights[1] * medium[x] + weights[2] * short[x]
            row[x] = gain[x] * lab + _LOG2_OF_10 * bias[x]
    for c in range(3):
        row = scratch[c]
        for x in range(count):
            row[x] = _LAB[0, c] * red[x] + _LAB[1, c] * green[x] + _LAB[2, c] * blue[x]
    excess = colors[0]
    for x in range(count):
        excess[x] = max(max(max(long[x], medium[x]), short[x]) - _LOG2_OF_BRIGHTEST, _ZERO)
    for c in range(3):
        row = scratch[c]
        for x in range(count):
            row[x] = row[x] - excess[x]
        _exp2_row(row, count, bits)
    for c in range(3):
        weights, row = _CONES_TO_RGB[c], colors[c]
        for x in range(count):
            level = (
                weights[0] * (long[x] - _OFFSET)
                + weights[1] * (medium[x] - _OFFSET)
                + weights[2] * (short[x] - _OFFSET)
            )
            row[x] = min(max(level, _ZERO), _ONE)


@_compiled
def _log2_row(row, count, bits):
    """Base-2 logarithm in place, of positive numbers; unlike a call it vectorises. It is off by 1e-7 at most.

    The number is 2^e * m with m in sqrt(1/2)..sqrt(2), and log2(m) an odd series in (m - 1) / (m + 1).
    """
    as_bits = row.view(np.int32)
    for x in range(count):
        bits[x] = (as_bits[x] - np.int32(0x3F3504F3)) >> np.int32(23)
        as_bits[x] = as_bits[x] - (bits[x] << np.int32(23))
    for x in range(count):
        t = (row[x] - _ONE) / (row[x] + _ONE)
        u = t * t
        series = _F(2 / 7 / np.log(2)) + u * _F(2 / 9 / np.log(2))
        series = _F(2 / 5 / np.log(2)) + u * series
        series = _F(2 / 3 / np.log(2)) + u * series
        series = _F(2 / np.log(2)) + u * series
        row[x] = _F(bits[x]) + t * series


@_compiled
def _exp2_row(row, count, bits):
    """2^row in place, for exponents cut to -30..30; relative error 2e-7."""
    for x in range(count):
        exponent = min(max(row[x], _F(-30)), _F(30))
        whole = np.floor(exponent + _F(0.5))
        part = (exponent - whole) * _F(np.log(2))
        series = _F(1 / 120) + part * _F(1 / 720)
        series = _F(1 / 24) + part * series
        series = _F(1 / 6) + part * series
        series = _F(1 / 2) + part * series
        row[x] = _ONE + part * (_ONE + part * series)
        bits[x] = np.int32(whole)
    as_bits = row.view(np.int32)
    for x in range(count):
        as_bits[x] = as_bits[x] + (bits[x] << np.int32(23))


@_compiled
def _hsv_affine_row(affine, colors, count, scratch):
    """The HSV affine in place."""
    red_row, green_row, blue_row = colors[0], colors[1], colors[2]
    turns, saturations, values = scratch[0], scratch[1], scratch[2]
    hue_gain, saturation_gain, value_gain = affine[0], affine[1], affine[2]
    hue_shift, saturation_bias, value_bias = affine[3], affine[4], affine[5]
    for x in range(count):
        red = min(max(red_row[x], _ZERO), _ONE)
        green = min(max(green_row[x], _ZERO), _ONE)
        blue = min(max(blue_row[x], _ZERO), _ONE)
        value = max(max(red, green), blue)
        chroma = value - min(min(red, green), blue)
        colored = _F(chroma > _GREY)
        is_red = _F(value == red)
        is_green = (_ONE - is_red) * _F(value == green)
        is_blue = _ONE - is_red - is_green
        rise = is_red * (green - blue) + is_green * (blue - red) + is_blue * (red - green)
        grey = _ONE - colored  # keeps the denominators off zero
        hue = colored * (_F(2) * is_green + _F(4) * is_blue + rise / (chroma + grey)) / _SIX
        hue = hue - np.floor(hue)
        hue = hue + (hue_gain[x] - _ONE) * min(hue, (_ONE - hue) * _FALL_OF_HUE) + hue_shift[x]
        saturation = saturation_gain[x] * (colored * chroma / (value + grey)) + saturation_bias[x]
        saturation = min(colored * (chroma - _GREY) * _PRESENCE, _ONE) * saturation
        turns[x] = _SIX * (hue - np.floor(hue))
        saturations[x] = min(max(saturation, _ZERO), _ONE)
        values[x] = min(max(value_gain[x] * value + value_bias[x], _ZERO), _ONE)
    for x in range(count):
        depth = values[x] * saturations[x]
        red_row[x] = values[x] - depth * _fall(turns[x] + _F(5))
        green_row[x] = values[x] - depth * _fall(turns[x] + _F(3))
        blue_row[x] = values[x] - depth * _fall(turns[x] + _F(1))


@_compiled
def _fall(sector):
    sector = sector - _SIX * _F(sector >= _SIX)
    return min(max(min(sector, _F(4) - sector), _ZERO), _ONE)


@_compiled
def _rgb_affine_row(affine, colors, count):
    for c in range(3):
        gain, bias, row = affine[c], affine[3 + c], colors[c]
        for x in range(count):
            row[x] = gain[x] * row[x] + bias[x]


@_compiled
def _gamma_row(exponents, colors, count, power, bits):
    """A power of each channel in place, a straight line near black; see `dakpn.models.function.stages.Gamma`."""
    for c in range(3):
        exponent, row = exponents[c], colors[c]
        for x in range(count):
            power[x] = max(row[x], _DARKEST)
        _log2_row(power, count, bits)
        for x in range(count):
            power[x] = power[x] * (exponent[x] - _ONE)
        _exp2_row(power, count, bits)
        for x in range(count):
            row[x] = max(row[x], _ZERO) * power[x]


@_compiled
def _noise_row(scales, colors, count, states, seed, first_pixel, quantiles):
    """Add keyed noise in place (see `dakpn.models.function.noise.keyed_noise`)."""
    mask = np.uint64(len(quantiles) - 1)
    for x in range(count):
        state = seed + (first_pixel + np.uint64(x + 1)) * GOLDEN
        state = (state ^ (state >> np.uint64(30))) * MIX_1
        state = (state ^ (state >> np.uint64(27))) * MIX_2
        states[x] = state ^ (state >> np.uint64(31))
    for c in range(3):
        scale, row = scales[c], colors[c]
        shift = _SHIFT * np.uint64(c)
        for x in range(count):
            row[x] = row[x] + scale[x] * quantiles[np.int64((states[x] >> shift) & mask)]


@_compiled
def _blur_tile(buffer, line, left, rows, columns, sigmas, folds, out):
    """Blur the tile whose first pixel is column `left` of the image and `line` of the buffer, strip by strip.

    `sigmas` and `out` are float32 [TILE_ROWS, 3, TILE_COLUMNS].
    """
    even_rows = rows + rows % 2
    for channel in range(3):
        plane = buffer[channel]
        for x in range(0, columns, LANES):
            start = line * plane.shape[1] + MAX_RADIUS + left + x
            place = channel * TILE_COLUMNS + x
            blur_strip(  # pyright: ignore[reportCallIssue] - numba passes the first argument
                plane, start, plane.shape[1], sigmas, out, place, 3 * TILE_COLUMNS, even_rows, folds
            )


@_compiled
def _symmetric_row(buffer, line, left, radius, weights, count, scratch, out):
    """One row of the symmetric kernel; see `stages.SymmetricKernel`. `weights` are float32 [P, n]."""
    first = MAX_RADIUS + left
    total = scratch[0][0]
    for x in range(count):
        total[x] = _ZERO
    for c in range(3):
        source, target = buffer[c, line], out[c]
        for x in range(count):
            target[x] = source[first + x]
    number = 0
    for dy in range(radius + 1):
        for dx in range(-radius if dy else 1, radius + 1):
            weight = weights[number]
            number += 1
            for x in range(count):
                total[x] += weight[x]
            for c in range(3):
                after, before, target = buffer[c, line + dy], buffer[c, line - dy], out[c]
                for x in range(count):
                    target[x] += weight[x] * (after[first + dx + x] + before[first - dx + x])
    for c in range(3):
        target = out[c]
        for x in range(count):
            target[x] = target[x] / (_ONE + _F(2) * total[x])
