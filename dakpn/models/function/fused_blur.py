"""The blur of the fused CPU form, written in LLVM's vectors.

A strip of `LANES` columns is blurred row by row. Its rows are first folded along the columns, `x(c - i) + x(c + i)` for
every i, so that all that follows reads whole aligned vectors. A pair of rows shares what it reads and keeps both rows'
weights in registers; its window is as large as its own sigmas ask for. A pixel's sums are added in one order, and those
beyond its own window have the weight 0, so that its value depends neither on the pair nor on the strip.

Plain loops of numba take three to four times as long, for they keep sums and weights in memory. Builders are
`llvmlite.ir.IRBuilder`s: their own annotations promise None where they return values.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dakpn.models.function.blur import MAX_RADIUS, SIGMAS_IN_WINDOW

LANES = 16
"""Columns of a strip."""
FOLDS = MAX_RADIUS + 1
_INT = ir.IntType(64)
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_ELEMENT_BYTES = 4
_EXPONENTIAL = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0)
"""Taylor series of exp, highest power first."""
_SQUARINGS = 6
"""The series is taken of t / 64 and squared as often: unlike a call it vectorises. It is off by 6e-6."""
_LARGEST_EXPONENT = 32.0


@intrinsic
def blur_strip(typing_context, plane, plane_at, plane_stride, sigmas, out, at, stride, rows, folds):
    """Blur `rows` rows of one strip; two at a time, so that `sigmas` and `out` hold an even number of rows.

    Args:
        typing_context: numba's.
        plane: float32 image, C-contiguous, with MAX_RADIUS rows and columns around what is blurred.
        plane_at: index of the strip's first pixel in the flat plane.
        plane_stride: Distance in bytes of its rows.
        sigmas: float32, C-contiguous, finite.
        out: float32, C-contiguous, as `sigmas`.
        at: index of the strip's first pixel in the flat `sigmas` and `out`.
        stride: Distance in bytes of their rows.
        rows: even.
        folds: float32 scratch [rows + 2 * MAX_RADIUS, FOLDS, LANES].
    """
    signature = types.void(plane, types.int64, types.int64, sigmas, out, types.int64, types.int64, types.int64, folds)
    return signature, _emit_blur_strip


def _emit_blur_strip(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def pointer(index: int) -> ir.Value:
        return context.make_array(signature.args[index])(context, builder, arguments[index]).data

    plane_at, plane_stride, at, stride, rows = (arguments[n] for n in (1, 2, 5, 6, 7))
    strip = builder.gep(pointer(0), [plane_at])
    sigmas, out, folds = builder.gep(pointer(3), [at]), builder.gep(pointer(4), [at]), pointer(8)
    radius = _largest_radius(builder, sigmas, stride, rows)
    _fold_rows(builder, strip, plane_stride, folds, rows, radius)
    pairs = builder.lshr(rows, _int(1))
    weights = [cgutils.alloca_once(builder, _VECTOR, size=FOLDS) for _ in range(2)]
    with cgutils.for_range(builder, pairs, intp=_INT) as pair:
        first = builder.shl(pair.index, _int(1))
        places = [builder.mul(builder.add(first, _int(n)), stride) for n in range(2)]
        pair_sigmas = [_load(builder, builder.gep(sigmas, [place])) for place in places]
        targets = [builder.gep(out, [place]) for place in places]
        center = builder.gep(folds, [builder.mul(builder.add(first, radius), _int(FOLDS * LANES))])
        pair_radius = _radius(builder, _maximum(builder, *pair_sigmas))
        after = builder.append_basic_block("blurred")
        choice = builder.switch(pair_radius, after)
        for constant in range(MAX_RADIUS + 1):
            block = builder.append_basic_block(f"radius{constant}")
            choice.add_case(_int(constant), block)
            with builder.goto_block(block):
                _emit_pair(builder, center, pair_sigmas, targets, weights, constant)
                builder.branch(after)
        builder.position_at_end(after)
    return context.get_dummy_value()


def _largest_radius(builder: Any, sigmas: ir.Value, stride: ir.Value, rows: ir.Value) -> ir.Value:
    """Window radius of the strip's largest sigma."""
    largest = cgutils.alloca_once_value(builder, _splat(0))
    with cgutils.for_range(builder, rows, intp=_INT) as row:
        sigma = _load(builder, builder.gep(sigmas, [builder.mul(row.index, stride)]))
        builder.store(_maximum(builder, builder.load(largest), sigma), largest)
    return _radius(builder, builder.load(largest))


def _radius(builder: Any, sigma: ir.Value) -> ir.Value:
    """As `dakpn.models.function.blur.window_radius` of the largest of a vector."""
    reduce = _function(builder, "llvm.vector.reduce.fmax.v16f32", _FLOAT, _VECTOR)
    ceil = _function(builder, "llvm.ceil.f32", _FLOAT, _FLOAT)
    reach = builder.call(ceil, [builder.fmul(builder.call(reduce, [sigma]), _FLOAT(SIGMAS_IN_WINDOW))])
    within = builder.fcmp_ordered("<", reach, _FLOAT(MAX_RADIUS))
    return builder.fptosi(builder.select(within, reach, _FLOAT(MAX_RADIUS)), _INT)


def _fold_rows(
    builder: Any, strip: ir.Value, plane_stride: ir.Value, folds: ir.Value, rows: ir.Value, radius: ir.Value
) -> None:
    """Fold the strip's rows and `radius` more on each side: each row's center, then its sums for 1..radius."""
    first = builder.neg(radius)
    stop = builder.add(rows, radius)
    with cgutils.for_range(builder, stop, start=first, intp=_INT) as row:
        source = builder.gep(strip, [builder.mul(row.index, plane_stride)])
        target = builder.gep(folds, [builder.mul(builder.sub(row.index, first), _int(FOLDS * LANES))])
        _store(builder, _load(builder, source), target)
        with cgutils.for_range(builder, builder.add(radius, _int(1)), start=_int(1), intp=_INT) as fold:
            before = _load(builder, builder.gep(source, [builder.neg(fold.index)]))
            after = _load(builder, builder.gep(source, [fold.index]))
            place = builder.gep(target, [builder.mul(fold.index, _int(LANES))])
            _store(builder, builder.fadd(before, after), place)


def _emit_pair(
    builder: Any,
    center: ir.Value,
    sigmas: list[ir.Value],
    targets: list[ir.Value],
    spilled: list[ir.Value],
    radius: int,
) -> None:
    """Blur two rows with a window of `radius`, known when this is compiled; `center` is the first one's fold."""
    weights, norms = zip(*(_axis_weights(builder, sigma, radius) for sigma in sigmas), strict=True)
    totals = _column_sums(builder, center, weights, radius)
    if radius:
        for row in range(2):
            for i, weight in enumerate(weights[row], 1):
                builder.store(weight, builder.gep(spilled[row], [_int(i)]))
        sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(2)]
        for total, place in zip(totals, sums, strict=True):
            builder.store(total, place)
        with cgutils.for_range(builder, _int(radius + 1), start=_int(1), intp=_INT) as fold:
            column = builder.gep(center, [builder.mul(fold.index, _int(LANES))])
            for row, inner in enumerate(_column_sums(builder, column, weights, radius)):
                weight = builder.load(builder.gep(spilled[row], [fold.index]))
                builder.store(_multiply_add(builder, weight, inner, builder.load(sums[row])), sums[row])
        totals = [builder.load(place) for place in sums]
    for total, norm, target in zip(totals, norms, targets, strict=True):
        _store(builder, builder.fdiv(total, builder.fmul(norm, norm)), target)


def _column_sums(builder: Any, column: ir.Value, weights: Any, radius: int) -> list[ir.Value]:
    """For both rows, the weighted sum over the rows of one fold."""
    rows: dict[int, ir.Value] = {}

    def row(offset: int) -> ir.Value:
        if offset not in rows:
            rows[offset] = _load(builder, builder.gep(column, [_int(offset * FOLDS * LANES)]))
        return rows[offset]

    sums = [row(0), row(1)]
    for j in range(1, radius + 1):
        for n in range(2):
            pair = builder.fadd(row(n - j), row(n + j))
            sums[n] = _multiply_add(builder, weights[n][j - 1], pair, sums[n])
    return sums


def _axis_weights(builder: Any, sigma: ir.Value, radius: int) -> tuple[list[ir.Value], ir.Value]:
    """As `dakpn.models.function.blur._axis_weights`, and the sum of the weights along one axis."""
    norm = _splat(1)
    if radius == 0:
        return [], norm
    doubled = builder.fadd(builder.fmul(builder.fmul(_splat(2), sigma), sigma), _splat(1e-8))
    exponent = builder.fdiv(_splat(1), doubled)
    within = builder.fcmp_ordered("<", exponent, _splat(_LARGEST_EXPONENT))
    exponent = builder.select(within, exponent, _splat(_LARGEST_EXPONENT))
    argument = builder.fmul(exponent, _splat(-(2.0**-_SQUARINGS)))
    base = _splat(_EXPONENTIAL[0])
    for coefficient in _EXPONENTIAL[1:]:
        base = _multiply_add(builder, argument, base, _splat(coefficient))
    for _ in range(_SQUARINGS):
        base = builder.fmul(base, base)
    square = builder.fmul(base, base)
    current, ratio = base, builder.fmul(base, square)
    reach = builder.fmul(_splat(SIGMAS_IN_WINDOW), sigma)
    weights = []
    for d in range(1, radius + 1):
        weight = builder.select(builder.fcmp_ordered(">", reach, _splat(d - 1)), current, _splat(0))
        weights.append(weight)
        norm = _multiply_add(builder, _splat(2), weight, norm)
        current, ratio = builder.fmul(current, ratio), builder.fmul(ratio, square)
    return weights, norm


def _multiply_add(builder: Any, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
    """`left * right + addend`, fused where the processor can."""
    return builder.call(_function(builder, "llvm.fmuladd.v16f32", *[_VECTOR] * 4), [left, right, addend])


def _maximum(builder: Any, left: ir.Value, right: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


def _function(builder: Any, name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _load(builder: Any, pointer: ir.Value) -> ir.Value:
    return builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()), align=_ELEMENT_BYTES)


def _store(builder: Any, value: ir.Value, pointer: ir.Value) -> None:
    builder.store(value, builder.bitcast(pointer, _VECTOR.as_pointer()), align=_ELEMENT_BYTES)


def _splat(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [ir.Constant(_FLOAT, value)] * LANES)


def _int(value: int) -> ir.Constant:
    return ir.Constant(_INT, value)
