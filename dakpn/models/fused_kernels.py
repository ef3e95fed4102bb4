"""The style affine and the paper's three stages as compiled CPU kernels: uint8 in, uint8 out, params interpolated on
the fly.

A band of rows goes through two kernels. `color_rows` writes the colour affines into a padded float buffer, each pixel
once; `finish_rows` blurs, adds noise and rounds. A pixel's value depends on its place in the image alone, not on the
band, block or thread that computes it.

Loops run over contiguous 1-D slices and choose by arithmetic instead of branches, so that the compiler vectorises them.
"""

import numpy as np
from numba import njit

from dakpn.models.blur import MAX_RADIUS
from dakpn.models.color import CONES_TO_RGB, GREY_CHROMA, LOG_CONES_TO_LAB, LOG_OFFSET, RGB_TO_CONES
from dakpn.models.fused_blur import FOLDS, LANES, blur_strip
from dakpn.models.noise import BITS_PER_CHANNEL, GOLDEN, MIX_1, MIX_2

TILE_ROWS, TILE_COLUMNS = 64, 256
"""Even, and a multiple of LANES; a tile's buffers should stay in the cache."""
_F = np.float32
_ZERO, _ONE, _SIX = _F(0), _F(1), _F(6)
_GREY = _F(GREY_CHROMA)
_OFFSET = _F(LOG_OFFSET)
_LOG2_OF_10 = _F(np.log2(10))
_RGB_TO_CONES = np.array(RGB_TO_CONES, np.float32)
_CONES_TO_RGB = np.array(CONES_TO_RGB, np.float32)
_LAB = np.array(LOG_CONES_TO_LAB, np.float32)
_SHIFT = np.uint64(BITS_PER_CHANNEL)

_compiled = njit(cache=True, nogil=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


def buffer_size(lines, width):
    """Lines and columns of the buffer that `lines` rows of an image need, with the surroundings that the blur reads."""
    return lines + 2 * MAX_RADIUS + 1, -(-width // LANES) * LANES + 2 * MAX_RADIUS


@_compiled
def color_rows(image, params, rows, row_fractions, columns, column_fractions, lines, first_row, buffer):
    """Write the colour affine of the buffer's lines [lines[0], lines[1]); line 0 is image row `first_row`.

    Args:
        image: uint8 [H, W, 3].
        params: float32 [6, h, w] of the HSV affine, or [12, h, w]: of the l-alpha-beta affine before it, too.
        rows: lower low-res row of each full-res row.
        row_fractions: fraction of each full-res row towards the next low-res row.
        columns: as `rows`, for the columns.
        column_fractions: as `row_fractions`, for the columns.
        lines: first and last line to write. Rows beyond the image repeat its edge.
        first_row: may be negative.
        buffer: float32 [3, *`buffer_size`(rows of a band, W)], edge columns repeated.
    """
    height, width = image.shape[0], image.shape[1]
    low = np.empty(params.shape[2] + 1, np.float32)
    affine = np.empty((params.shape[0], width), np.float32)
    scratch = np.empty((6, width), np.float32)
    bits = np.empty((3, width), np.int32)
    inner = slice(MAX_RADIUS, MAX_RADIUS + width)
    for line in range(lines[0], lines[1]):
        y = min(max(first_row + line, 0), height - 1)
        for p in range(params.shape[0]):
            _interpolate_row(params[p], rows[y], row_fractions[y], columns, column_fractions, low, affine[p])
        _rgb_row(image[y], scratch)
        if params.shape[0] > 6:
            _lab_affine_row(affine, scratch, bits)
        red, green, blue = buffer[0, line], buffer[1, line], buffer[2, line]
        _hsv_affine_row(affine[-6:], scratch, red[inner], green[inner], blue[inner])
        for channel in (red, green, blue):
            channel[:MAX_RADIUS] = channel[MAX_RADIUS]
            channel[MAX_RADIUS + width :] = channel[MAX_RADIUS + width - 1]


@_compiled
def finish_rows(params, rows, row_fractions, columns, column_fractions, lines, first_row, buffer, seed, quantiles, out):
    """Blur image rows [lines[0], lines[1]), add noise and write them to `out`, uint8 [H, W, 3].

    `params` are float32 [6, h, w], of blur and noise. `buffer` comes from `color_rows`, starts at image row `first_row`
    and holds MAX_RADIUS rows around those asked for. `seed` and `quantiles` are those of `dakpn.models.noise`. The
    other arguments are as for `color_rows`.
    """
    width = out.shape[1]
    sigmas = np.zeros((TILE_ROWS, TILE_COLUMNS), np.float32)
    scales = np.empty((3, TILE_ROWS, TILE_COLUMNS), np.float32)
    blurred = np.empty((3, TILE_ROWS, TILE_COLUMNS), np.float32)
    folds = np.zeros((TILE_ROWS + 2 * MAX_RADIUS, FOLDS, LANES), np.float32)
    for top in range(lines[0], lines[1], TILE_ROWS):
        within = slice(top, min(top + TILE_ROWS, lines[1]))
        for left in range(0, width, TILE_COLUMNS):
            across = slice(left, min(left + TILE_COLUMNS, width))
            place = (rows[within], row_fractions[within], columns[across], column_fractions[across])
            for channel in range(3):
                _interpolate_tile(params[channel], place, sigmas)
                _interpolate_tile(params[3 + channel], place, scales[channel])
                _blur_tile(buffer[channel], top - first_row, left, place, sigmas, folds, blurred[channel])
            for n in range(within.stop - top):
                y = top + n
                first_pixel = np.uint64(y) * np.uint64(width) + np.uint64(left)
                _write_row(blurred[:, n], scales[:, n], seed, first_pixel, quantiles, out[y, across])


@_compiled
def _interpolate_tile(param, place, out):
    """Bilinear: first between the columns of the two low-res rows, which many full-res rows share."""
    rows, row_fractions, columns, column_fractions = place
    last_row, last_column = param.shape[0] - 1, param.shape[1] - 1
    above, below = np.empty(len(columns), np.float32), np.empty(len(columns), np.float32)
    held = -1
    for n in range(len(rows)):
        if rows[n] != held:
            held = rows[n]
            upper, lower = param[held], param[min(held + 1, last_row)]
            for x in range(len(columns)):
                column, fraction = columns[x], column_fractions[x]
                following = min(column + 1, last_column)
                above[x] = upper[column] + fraction * (upper[following] - upper[column])
                below[x] = lower[column] + fraction * (lower[following] - lower[column])
        fraction, row = row_fractions[n], out[n]
        for x in range(len(columns)):
            row[x] = above[x] + fraction * (below[x] - above[x])


@_compiled
def _interpolate_row(param, row, row_fraction, columns, column_fractions, low, out):
    """Bilinear: first between two low-res rows, then between columns, as `upsample_params` does."""
    last_row, last_column = param.shape[0] - 1, param.shape[1] - 1
    above, below = param[row], param[min(row + 1, last_row)]
    for i in range(last_column + 1):
        low[i] = above[i] + row_fraction * (below[i] - above[i])
    low[last_column + 1] = low[last_column]
    for x in range(out.shape[0]):
        column = columns[x]
        first = low[column]
        out[x] = first + column_fractions[x] * (low[column + 1] - first)


@_compiled
def _rgb_row(image, scratch):
    red, green, blue = scratch[0], scratch[1], scratch[2]
    for x in range(image.shape[0]):
        red[x], green[x], blue[x] = image[x, 0] / _F(255), image[x, 1] / _F(255), image[x, 2] / _F(255)


@_compiled
def _lab_affine_row(affine, scratch, bits):
    """The l-alpha-beta affine of the colours in scratch[:3], in place.

    Logarithms are to base 2 throughout; the bias, to base 10, is scaled to it.
    """
    width = scratch.shape[1]
    for c in range(3):
        weights, row = _RGB_TO_CONES[c], scratch[3 + c]
        for x in range(width):
            row[x] = weights[0] * scratch[0, x] + weights[1] * scratch[1, x] + weights[2] * scratch[2, x] + _OFFSET
        _log2_row(row, bits[c])
    long, medium, short = scratch[3], scratch[4], scratch[5]
    for c in range(3):
        weights, gain, bias, row = _LAB[c], affine[c], affine[3 + c], scratch[c]
        for x in range(width):
            lab = weights[0] * long[x] + weights[1] * medium[x] + weights[2] * short[x]
            row[x] = gain[x] * lab + _LOG2_OF_10 * bias[x]
    for c in range(3):
        row = scratch[3 + c]
        for x in range(width):
            row[x] = _LAB[0, c] * scratch[0, x] + _LAB[1, c] * scratch[1, x] + _LAB[2, c] * scratch[2, x]
        _exp2_row(row, bits[c])
    for c in range(3):
        weights, row = _CONES_TO_RGB[c], scratch[c]
        for x in range(width):
            level = (
                weights[0] * (long[x] - _OFFSET)
                + weights[1] * (medium[x] - _OFFSET)
                + weights[2] * (short[x] - _OFFSET)
            )
            row[x] = min(max(level, _ZERO), _ONE)


@_compiled
def _log2_row(row, bits):
    """Base-2 logarithm in place, of positive numbers; unlike a call it vectorises. It is off by 1e-7 at most.

    The number is 2^e * m with m in sqrt(1/2)..sqrt(2), and log2(m) an odd series in (m - 1) / (m + 1).
    """
    as_bits = row.view(np.int32)
    for x in range(len(row)):
        bits[x] = (as_bits[x] - np.int32(0x3F3504F3)) >> np.int32(23)
        as_bits[x] = as_bits[x] - (bits[x] << np.int32(23))
    for x in range(len(row)):
        t = (row[x] - _ONE) / (row[x] + _ONE)
        u = t * t
        series = _F(2 / 7 / np.log(2)) + u * _F(2 / 9 / np.log(2))
        series = _F(2 / 5 / np.log(2)) + u * series
        series = _F(2 / 3 / np.log(2)) + u * series
        series = _F(2 / np.log(2)) + u * series
        row[x] = _F(bits[x]) + t * series


@_compiled
def _exp2_row(row, bits):
    """2^row in place, for exponents cut to -30..30; relative error 2e-7."""
    for x in range(len(row)):
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
    for x in range(len(row)):
        as_bits[x] = as_bits[x] + (bits[x] << np.int32(23))


@_compiled
def _hsv_affine_row(affine, scratch, red_out, green_out, blue_out):
    """The HSV affine of the colours in scratch[:3]."""
    width = scratch.shape[1]
    red_in, green_in, blue_in = scratch[0], scratch[1], scratch[2]
    turns, saturations, values = scratch[3], scratch[4], scratch[5]
    hue_gain, saturation_gain, value_gain = affine[0], affine[1], affine[2]
    hue_shift, saturation_bias, value_bias = affine[3], affine[4], affine[5]
    for x in range(width):
        red, green, blue = red_in[x], green_in[x], blue_in[x]
        value = max(max(red, green), blue)
        chroma = value - min(min(red, green), blue)
        colored = _F(chroma > _GREY)
        is_red = _F(value == red)
        is_green = (_ONE - is_red) * _F(value == green)
        is_blue = _ONE - is_red - is_green
        rise = is_red * (green - blue) + is_green * (blue - red) + is_blue * (red - green)
        grey = _ONE - colored  # keeps the denominators off zero
        hue = colored * (_F(2) * is_green + _F(4) * is_blue + rise / (chroma + grey)) / _SIX
        hue = hue_gain[x] * (hue - np.floor(hue)) + hue_shift[x]
        saturation = saturation_gain[x] * (colored * chroma / (value + grey)) + saturation_bias[x]
        turns[x] = _SIX * (hue - np.floor(hue))
        saturations[x] = min(max(saturation, _ZERO), _ONE)
        values[x] = min(max(value_gain[x] * value + value_bias[x], _ZERO), _ONE)
    for x in range(width):
        depth = values[x] * saturations[x]
        red_out[x] = values[x] - depth * _fall(turns[x] + _F(5))
        green_out[x] = values[x] - depth * _fall(turns[x] + _F(3))
        blue_out[x] = values[x] - depth * _fall(turns[x] + _F(1))


@_compiled
def _fall(sector):
    sector = sector - _SIX * _F(sector >= _SIX)
    return min(max(min(sector, _F(4) - sector), _ZERO), _ONE)


@_compiled
def _blur_tile(plane, line, left, place, sigmas, folds, out):
    """Blur the tile whose first pixel is column `left` of the image and `line` of the buffer, strip by strip."""
    rows, columns = len(place[0]), len(place[2])
    pairs = (rows + 1) // 2
    stride = plane.shape[1]
    for x in range(0, columns, LANES):
        start = line * stride + MAX_RADIUS + left + x
        blur_strip(  # pyright: ignore[reportCallIssue] - numba passes the first argument
            plane, start, stride, sigmas, out, x, TILE_COLUMNS, 2 * pairs, folds
        )


@_compiled
def _write_row(blurred, scales, seed, first_pixel, quantiles, out):
    """Add keyed noise (see `dakpn.models.noise.keyed_noise`), clamp and round to bytes."""
    mask = np.uint64(len(quantiles) - 1)
    for x in range(out.shape[0]):
        state = seed + (first_pixel + np.uint64(x + 1)) * GOLDEN
        state = (state ^ (state >> np.uint64(30))) * MIX_1
        state = (state ^ (state >> np.uint64(27))) * MIX_2
        state = state ^ (state >> np.uint64(31))
        for channel in range(3):
            level = blurred[channel, x] + scales[channel, x] * quantiles[state & mask]
            state = state >> _SHIFT
            out[x, channel] = np.uint8(min(max(level, _ZERO), _ONE) * _F(255) + _F(0.5))
