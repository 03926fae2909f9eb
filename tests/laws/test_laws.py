"""The catalogue times the laws: what must hold between the transformations of one and the same primitive.

No law knows a primitive's formula. Each compares two ways to one number: forward with reverse mode and both with
differences, vmap with a loop, a transformation of a transformation with the same two exchanged. A primitive is tested
by having a row in the catalogue, and a law by standing in ``LAWS``; ``test_mutations.py`` shows that they can fail.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from catalog import COMPLEXES, FLOATS, ROWS, RULE, ZERO, Draw, assert_within_ulp, aval, each, from_reals, in_reals

import knet
import knet.numpy as knp
from knet.core import debug, registry
from knet.core.primitive import Linear

F64 = knp.float64
STEP = 2.0**-17  # of central differences
EPSILON = 2.0**-52


# --- subjects: a primitive at a point ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Subject:
    """A primitive with static parameters and operands.

    Args:
      name: of the primitive.
      label: for messages.
      draw: ``draw(k)`` is the k-th list of operands, NumPy arrays of the same shapes and dtypes for every k.
      params: static.
      moving: positions of the operands by which derivatives are compared with differences.
      ulp: how far a batch may be from a loop; 0 for what only moves elements.
      complexes: which operands of the primitive are complex. Here, as in the results, their real and imaginary parts
        stand for them, so that the laws deal with real arrays alone.
    """

    name: str
    label: str
    draw: Callable[[int], list[Any]]
    params: dict[str, Any]
    moving: tuple[int, ...]
    ulp: float = 16
    complexes: tuple[bool, ...] = ()

    @property
    def arrays(self) -> list[Any]:
        return [array(x) for x in self.draw(0)]

    def call(self, *arrays: Any) -> Any:
        """The primitive, whose results are a list whether it has one or several."""
        operands = from_reals(arrays, self.complexes) if any(self.complexes) else arrays
        return in_reals(each(registry[self.name](*operands, **self.params)))

    def of(self, positions: Sequence[int], operands: Sequence[Any]) -> Callable[..., Any]:
        """The primitive as a function of some of its operands; the others are given."""

        def function(*xs: Any) -> Any:
            full = list(operands)
            for i, x in zip(positions, xs, strict=True):
                full[i] = x
            return self.call(*full)

        return function

    def rng(self, salt: str = "") -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.label} {salt}".encode()))

    def fail(self, text: str) -> None:
        raise AssertionError(f"{self.name}: {self.label}: {text}")


def _varied(array: Any, k: int) -> Any:
    """Another given operand of the same kind: indices in another order, another key."""
    if array.dtype == np.uint64:
        return array + np.uint64(k)
    return np.roll(array, k)


def subjects_of(name: str, dtype: Any = None) -> list[Subject]:
    """One for each case of the primitive's row, in double precision unless another dtype is given."""
    row = ROWS[name]
    dtype = dtype or (row.double if row.double in row.dtypes else row.dtypes[0])
    found = []
    for case in row.cases:

        def draw(k: int, case: Any = case) -> list[Any]:
            operands = case.draw(dtype, f"{name} law {k}")
            return in_reals(
                [_varied(x, k) if isinstance(o, np.ndarray) else x for x, o in zip(operands, case.operands)]
            )

        complexes = tuple(x.dtype.kind == "c" for x in case.draw(dtype, name))
        moving = tuple(
            i
            for i, (kind, operand) in enumerate(
                (k, o) for k, o, c in zip(row.grads, case.operands, complexes) for _ in range(1 + c)
            )
            if isinstance(operand, Draw)
            # What is constant in steps stays so under a small step; but not what only claims to be constant, nor what
            # picks positions by comparing two operands.
            and (kind == RULE or (kind == ZERO and row.elementwise and name != "stop_gradient"))
        )
        subject = Subject(
            name, f"{name}({case}) in {dtype}", draw, case.params, moving, 0 if row.ulp == 0 else 16, complexes
        )
        if dtype not in FLOATS + COMPLEXES or any(y.dtype not in FLOATS for y in subject.call(*subject.arrays)):
            subject = dataclasses.replace(subject, moving=())
        found.append(subject)
    return found


# What complex numbers are put together from parts with, and taken apart: their laws see a wrong rule of these, too.
OF_PARTS = ("add", "multiply", "real", "imag")


def has_complex_numbers(name: str) -> bool:
    """Whether operands or results of the primitive are complex."""
    case, dtype = ROWS[name].cases[0], ROWS[name].dtypes[-1]
    arrays = case.draw(dtype, name)
    return any(x.dtype.kind == "c" for x in (*arrays, *each(aval(ROWS[name], arrays, case.params))))


def doubles(subjects: Sequence[Subject]) -> list[Subject]:
    """Those that differences can say something of: some float64 elements in, some float64 elements out."""
    return [
        s
        for s in subjects
        if s.moving
        and any(s.arrays[i].size for i in s.moving)
        and all(s.arrays[i].dtype == F64 for i in s.moving)
        and any(y.size and y.dtype == F64 for y in s.call(*s.arrays))
    ]


def array(x: Any) -> Any:
    """Knet's array of the same dtype; a bare NumPy scalar would count as a Python number, and become float32."""
    return knp.asarray(np.asarray(x))


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """A direction none of whose entries is near 0."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(s: Subject, what: str, got: Sequence[Any], want: Sequence[Any], ulp: float) -> None:
    """Lists of arrays agree in shape and dtype, and to ``ulp`` of the largest element of each; exactly if ulp is 0."""
    if len(got) != len(want):
        s.fail(f"{what}: {len(got)} results, expected {len(want)}")
    for k, (a, b) in enumerate(zip(map(np.asarray, got), map(np.asarray, want))):
        if a.dtype != b.dtype:
            s.fail(f"{what}: result {k} is {a.dtype}, expected {b.dtype}")
        floating = b.dtype in FLOATS
        scale = np.full(b.shape, max(1e-30, float(np.max(np.abs(b), initial=0)))) if floating and ulp else None
        assert_within_ulp(a, b, ulp if floating else 0, scale, f"{s.name}: {s.label}: {what}, result {k}")


def stack(lists: Sequence[Sequence[Any]]) -> list[Any]:
    """[example][result] to results with a batch axis in front."""
    return [np.stack([np.asarray(x) for x in column]) for column in zip(*lists, strict=True)]


def assert_consistent(s: Subject, what: str, f: Callable[..., Any], point: Sequence[Any], rtol: float = 1e-6) -> None:
    """Values do not change under jvp and vjp; J t is what differences say; and <w, J t> = <J^T w, t>."""
    rng = s.rng(what)
    direction = [unit(rng, x.shape) * np.maximum(1.0, np.abs(np.asarray(x))) for x in point]
    steps = [STEP * d for d in direction]
    plain = [np.asarray(y) for y in f(*point)]
    ys, tangents = knet.jvp(f, tuple(point), tuple(map(array, direction)))
    zs, pull_back = knet.vjp(f, *point)
    for y, z, p in zip(ys, zs, plain, strict=True):
        if not (np.isfinite(p).all() and np.array_equal(np.asarray(y), p) and np.array_equal(np.asarray(z), p)):
            s.fail(f"{what}: the value is {p}, under jvp {np.asarray(y)}, under vjp {np.asarray(z)}")
    above = f(*[array(np.asarray(x) + h) for x, h in zip(point, steps)])
    below = f(*[array(np.asarray(x) - h) for x, h in zip(point, steps)])
    for t, a, b in zip(map(np.asarray, tangents), map(np.asarray, above), map(np.asarray, below), strict=True):
        numeric = (a - b) / (2 * STEP)
        size = max(float(np.max(np.abs(t), initial=0)), float(np.max(np.abs(numeric), initial=0)))
        allowed = rtol * size + 64 * EPSILON / STEP * float(np.max(np.abs(a), initial=0))
        error = np.max(np.abs(t - numeric), initial=0)
        if not error <= allowed:
            s.fail(f"{what}: jvp says {t} and differences {numeric}: off by {error:.3g}, allowed {allowed:.3g}")
    weights = [unit(rng, p.shape) for p in plain]
    cotangents = pull_back([array(w) for w in weights])
    pushed = [np.asarray(t) * w for t, w in zip(tangents, weights, strict=True)]
    pulled = [np.asarray(c) * d for c, d in zip(cotangents, direction, strict=True)]
    left, right = (float(sum(np.sum(p) for p in ps)) for ps in (pushed, pulled))
    size = float(sum(np.sum(np.abs(p)) for p in (*pushed, *pulled)))
    if not abs(left - right) <= 1e-11 * size:
        s.fail(f"{what}: <w, J t> = {left!r} by jvp and <J^T w, t> = {right!r} by vjp")


# --- laws of derivatives ----------------------------------------------------------------------------------------------


def law_reverse_mode_is_what_differences_say(s: Subject) -> None:
    """By each operand alone. Uses nothing but the primitive's own rule, so that only its own mistakes show."""
    point = [np.asarray(x) for x in s.arrays]
    for i in s.moving:
        if not point[i].size:
            continue
        f, rng = s.of([i], s.arrays), s.rng(f"reverse {i}")
        ys, pull_back = knet.vjp(f, s.arrays[i])
        weights = [unit(rng, y.shape) for y in ys]
        gradient = np.asarray(pull_back([array(w) for w in weights])[0])
        direction = unit(rng, point[i].shape) * np.maximum(1.0, np.abs(point[i]))
        above, below = ([np.asarray(y) for y in f(array(point[i] + h * direction))] for h in (STEP, -STEP))
        numeric = sum(float(np.sum(w * (a - b))) for w, a, b in zip(weights, above, below)) / (2 * STEP)
        analytic = float(np.sum(gradient * direction))
        size = float(np.sum(np.abs(gradient * direction)))
        value = sum(float(np.sum(np.abs(w * a))) for w, a in zip(weights, above))
        allowed = 1e-6 * min(size, 10 * abs(analytic)) + 64 * EPSILON / STEP * value
        if not abs(analytic - numeric) <= allowed:
            s.fail(f"operand {i}: {analytic!r} by vjp and {numeric!r} by differences, allowed {allowed:.3g}")


def law_forward_and_reverse_mode_agree(s: Subject) -> None:
    """jvp, vjp and differences of the primitive by all operands together, and by each alone."""
    assert_consistent(s, "first order", s.of(s.moving, s.arrays), [s.arrays[i] for i in s.moving])
    if len(s.moving) > 1:
        for i in s.moving:
            assert_consistent(s, f"first order by operand {i}", s.of([i], s.arrays), [s.arrays[i]])


def law_derivatives_of_reverse_mode_agree(s: Subject) -> None:
    """Forward over reverse, reverse over reverse, and differences of (x, w) -> J(x)^T w, which is linear in w."""
    f, point = s.of(s.moving, s.arrays), [s.arrays[i] for i in s.moving]
    weights = [array(unit(s.rng("w"), y.shape)) for y in f(*point)]

    def pulled(*xs: Any) -> Any:
        return list(knet.vjp(f, *xs[: len(point)])[1](list(xs[len(point) :])))

    assert_consistent(s, "derivative of the vjp", pulled, [*point, *weights], 2e-6)


def law_derivatives_of_forward_mode_agree(s: Subject) -> None:
    """Forward over forward, reverse over forward, and differences of (x, t) -> J(x) t."""
    f, point = s.of(s.moving, s.arrays), [s.arrays[i] for i in s.moving]
    tangents = [array(unit(s.rng("t"), x.shape)) for x in point]

    def pushed(*xs: Any) -> Any:
        return knet.jvp(f, xs[: len(point)], xs[len(point) :])[1]

    assert_consistent(s, "derivative of the jvp", pushed, [*point, *tangents], 2e-6)


def law_cotangents_and_tangents_are_like_their_primals(s: Subject) -> None:
    """Shape and dtype of every cotangent and tangent, also where operands are broadcast or narrower than the result."""
    point = [s.arrays[i] for i in s.moving]
    ys, pull_back = knet.vjp(s.of(s.moving, s.arrays), *point)
    for i, x, c in zip(s.moving, point, pull_back([knp.ones_like(y) for y in ys]), strict=True):
        if (c.shape, c.dtype) != (x.shape, x.dtype):
            s.fail(f"the cotangent of operand {i} is {c.dtype}{list(c.shape)}, its primal {x.dtype}{list(x.shape)}")
    zs, tangents = knet.jvp(s.of(s.moving, s.arrays), tuple(point), tuple(map(knp.ones_like, point)))
    for y, z, t in zip(ys, zs, tangents, strict=True):
        if (t.shape, t.dtype) != (y.shape, y.dtype) or (z.shape, z.dtype) != (y.shape, y.dtype):
            s.fail(f"the tangent is {t.dtype}{list(t.shape)}, the result {y.dtype}{list(y.shape)}")


def law_what_is_declared_linear_is_linear(s: Subject) -> None:
    """f(a x + b y) = a f(x) + b f(y), and <g, f(x)> = <f^T g, x> for the transpose."""
    declared = registry[s.name].jvp
    if not isinstance(declared, Linear):
        return
    where = range(len(s.arrays)) if declared.operands is None else declared.operands
    for group in [tuple(where)] if declared.jointly else [(i,) for i in where]:
        f, rng = s.of(group, s.arrays), s.rng(f"linear {group}")
        xs, ys = ([unit(rng, s.arrays[i].shape) for i in group] for _ in range(2))
        a, b = 0.75, -1.5
        got = f(*[array(a * x + b * y) for x, y in zip(xs, ys)])
        fx, fy = ([np.asarray(v) for v in f(*map(array, vs))] for vs in (xs, ys))
        for g, u, v in zip(map(np.asarray, got), fx, fy, strict=True):
            size = float(np.max(np.abs(u) + np.abs(v), initial=0))
            if not np.max(np.abs(g - (a * u + b * v)), initial=0) <= 1e-13 * size:
                s.fail(
                    f"declared linear in operands {group}, but f(ax + by) = {g} and a f(x) + b f(y) = {a * u + b * v}"
                )
        weights = [unit(rng, u.shape) for u in fx]
        back = knet.linear_transpose(f, *map(array, xs))([array(w) for w in weights])
        left = sum(float(np.sum(w * u)) for w, u in zip(weights, fx))
        right = sum(float(np.sum(np.asarray(c) * x)) for c, x in zip(back, xs, strict=True))
        size = sum(float(np.sum(np.abs(w * u))) for w, u in zip(weights, fx))
        if not abs(left - right) <= 1e-12 * (size + abs(right)):
            s.fail(f"linear_transpose by operands {group}: <g, f(x)> = {left!r} and <f^T g, x> = {right!r}")


# --- laws of batching -------------------------------------------------------------------------------------------------


def choices(s: Subject) -> list[tuple[bool, ...]]:
    """Which operands are batched: each choice but none."""
    return [c for c in itertools.product((True, False), repeat=len(s.arrays)) if any(c)]


def batch(s: Subject, choice: Sequence[bool], size: int, start: int = 0) -> tuple[list[list[Any]], list[Any], Any]:
    """(operand lists of each example, the operands stacked where batched, in_axes)."""
    first = s.draw(start)
    lists = [
        [x if b else f for x, f, b in zip(s.draw(start + k) if k else first, first, choice, strict=True)]
        for k in range(size)
    ]
    shared = [
        array(np.stack([x[i] for x in lists]) if size else np.zeros((0, *first[i].shape), first[i].dtype))
        if b
        else array(first[i])
        for i, b in enumerate(choice)
    ]
    return [[array(x) for x in xs] for xs in lists], shared, tuple(0 if b else None for b in choice)


def law_vmap_is_a_loop(s: Subject) -> None:
    """For every choice of batched operands, and batches of 3, of 1 and of none."""
    for choice in choices(s):
        for size in (3, 1, 0):
            lists, stacked, axes = batch(s, choice, size)
            got = knet.vmap(s.call, in_axes=axes)(*stacked)
            what = f"vmap over {size} with in_axes={axes}"
            if size:
                compare(s, what, got, stack([s.call(*xs) for xs in lists]), s.ulp)
            else:
                one = [np.asarray(y) for y in s.call(*s.arrays)]
                compare(s, what, got, [np.zeros((0, *y.shape), y.dtype) for y in one], 0)


def law_vmap_of_vmap_is_two_loops(s: Subject) -> None:
    """Over one axis inside the other for all operands, and with each axis for operands of its own."""
    count = len(s.arrays)
    every = (True,) * count
    rows = [batch(s, every, 3, 3 * k) for k in range(2)]
    stacked = [knp.stack([r[1][i] for r in rows]) for i in range(count)]
    want = stack([stack([s.call(*xs) for xs in r[0]]) for r in rows])
    compare(s, "vmap(vmap)", knet.vmap(knet.vmap(s.call))(*stacked), want, s.ulp)
    for inner in choices(s):
        if all(inner):
            continue
        # The outer axis for exactly the operands without the inner one.
        outer = tuple(not b for b in inner)
        lists, values, inner_axes = batch(s, inner, 3)
        others, other_values, outer_axes = batch(s, outer, 2)
        mixed = [a if b else c for a, b, c in zip(values, inner, other_values)]
        loops = [[[x if b else y for x, b, y in zip(xs, inner, ys)] for xs in lists] for ys in others]
        want = stack([stack([s.call(*xs) for xs in row]) for row in loops])
        got = knet.vmap(knet.vmap(s.call, in_axes=inner_axes), in_axes=outer_axes)(*mixed)
        compare(s, f"vmap(vmap) with in_axes={inner_axes} inside of {outer_axes}", got, want, s.ulp)


def some_choices(s: Subject) -> list[tuple[bool, ...]]:
    """All operands batched, and each operand with a derivative alone."""
    every = (True,) * len(s.arrays)
    alone = [tuple(j == i for j in range(len(s.arrays))) for i in s.moving]
    return [every, *(c for c in alone if c != every)]


def weighted(s: Subject) -> Callable[..., Any]:
    """Scalar loss: the sum of the results times fixed weights, none of them a special number."""
    rng = s.rng("loss")
    weights = [array(unit(rng, y.shape)) for y in s.call(*s.arrays)]

    def loss(*operands: Any) -> Any:
        return sum(knp.sum(y * w) for y, w in zip(s.call(*operands), weights, strict=True))

    return loss


def law_vmap_of_grad_is_a_loop_of_grads(s: Subject) -> None:
    gradient = knet.grad(weighted(s), s.moving)
    for choice in some_choices(s):
        lists, stacked, axes = batch(s, choice, 3)
        got = knet.vmap(gradient, in_axes=axes)(*stacked)
        compare(s, f"vmap(grad) with in_axes={axes}", got, stack([gradient(*xs) for xs in lists]), 64)


def law_grad_of_vmap_is_a_loop_of_grads(s: Subject) -> None:
    loss = weighted(s)
    scales = knp.asarray([1.0, -0.5, 2.0], dtype=F64)
    for choice in some_choices(s):
        lists, stacked, axes = batch(s, choice, 3)
        got = knet.grad(lambda *xs, axes=axes: (knet.vmap(loss, in_axes=axes)(*xs) * scales).sum(), s.moving)(*stacked)
        rows = [[np.asarray(g) * c for g in knet.grad(loss, s.moving)(*xs)] for xs, c in zip(lists, np.asarray(scales))]
        want = [w if choice[i] else w.sum(0) for i, w in zip(s.moving, stack(rows), strict=True)]
        compare(s, f"grad(vmap) with in_axes={axes}", got, want, 256)


def law_vmap_and_jvp_commute(s: Subject) -> None:
    """vmap of jvp and jvp of vmap are a loop of jvps."""
    for choice in some_choices(s):
        lists, stacked, axes = batch(s, choice, 3)
        rng = s.rng(f"jvp {choice}")
        tangents = [array(unit(rng, stacked[i].shape)) for i in s.moving]
        own = tuple(axes[i] for i in s.moving)

        def push(operands: Any, ts: Any) -> Any:
            return knet.jvp(s.of(s.moving, operands), tuple(operands[i] for i in s.moving), tuple(ts))[1]

        one = [[t[k] if b is not None else t for t, b in zip(tangents, own)] for k in range(3)]
        want = stack([push(xs, ts) for xs, ts in zip(lists, one)])
        inside = knet.vmap(push, in_axes=(list(axes), list(own)))(stacked, tangents)
        compare(s, f"vmap(jvp) with in_axes={axes}", inside, want, 64)
        mapped = knet.vmap(s.call, in_axes=axes)

        def batched(*xs: Any, stacked: Any = stacked, mapped: Any = mapped) -> Any:
            full = list(stacked)
            for i, x in zip(s.moving, xs, strict=True):
                full[i] = x
            return mapped(*full)

        outside = knet.jvp(batched, tuple(stacked[i] for i in s.moving), tuple(tangents))[1]
        compare(s, f"jvp(vmap) with in_axes={axes}", outside, want, 64)


@contextlib.contextmanager
def counted_kernels() -> Iterator[Counter[str]]:
    """Context that counts the kernels which run, by primitive."""
    counts: Counter[str] = Counter()
    debug._inspect(lambda primitive, _backend, _inputs, _outputs: counts.update([primitive.name]))
    try:
        yield counts
    finally:
        debug._inspect(None)


def law_vmap_never_loops(s: Subject) -> None:
    """As many kernels for a batch of 7 as for one of 2, for values and for gradients."""
    gradient = knet.grad(weighted(s), s.moving) if s.moving else None
    for function, what in ((s.call, "vmap"), (gradient, "vmap(grad)")):
        if function is None:
            continue
        for choice in choices(s):
            seen = []
            for size in (2, 7):
                _, stacked, axes = batch(s, choice, size)
                with counted_kernels() as counts:
                    knet.vmap(function, in_axes=axes)(*stacked)
                seen.append(dict(counts))
            if seen[0] != seen[1]:
                s.fail(f"{what} with in_axes={axes} runs {seen[0]} for 2 examples and {seen[1]} for 7")


# --- laws of shapes ---------------------------------------------------------------------------------------------------


def law_eval_shape_is_the_shape_of_the_result(s: Subject) -> None:
    """Of the call, of its batch, and of its gradient, with nothing computed."""
    _, stacked, axes = batch(s, (True,) * len(s.arrays), 2)
    functions: list[Any] = [(s.call, s.arrays), (knet.vmap(s.call, in_axes=axes), stacked)]
    if s.moving:
        functions.append((knet.grad(weighted_sum(s), s.moving), s.arrays))
    for f, operands in functions:
        got = [(a.shape, a.dtype) for a in knet.tree.leaves(knet.eval_shape(f, *operands))]
        want = [(y.shape, y.dtype) for y in knet.tree.leaves(f(*operands))]
        if got != want:
            s.fail(f"eval_shape says {got}, the results are {want}")


def weighted_sum(s: Subject) -> Callable[..., Any]:
    """Scalar loss in whatever dtype the results have."""
    return lambda *operands: sum(knp.sum(y).astype(knp.float32) for y in s.call(*operands))


# --- the product ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Law:
    """A law, and the subjects of a primitive for which it holds."""

    check: Callable[[Subject], None]
    subjects: Callable[[str], list[Subject]]

    def __call__(self, name: str) -> None:
        """Check the law for every subject of a primitive; a rule that raises breaks the law as well."""
        assert_law(self.check, self.subjects(name))


def assert_law(check: Callable[[Subject], None], subjects: Sequence[Subject]) -> None:
    assert subjects, "a law that is checked on nothing cannot fail"
    for s in subjects:
        try:
            check(s)
        except AssertionError:
            raise
        except Exception as e:
            raise AssertionError(f"{s.name}: {s.label}: {type(e).__name__}: {e}") from e


def differentiable(name: str) -> list[Subject]:
    return doubles(subjects_of(name))


def in_every_float(name: str) -> list[Subject]:
    return [s for d in FLOATS + COMPLEXES if d in ROWS[name].dtypes for s in subjects_of(name, d) if s.moving]


def in_every_dtype(name: str) -> list[Subject]:
    return [s for d in ROWS[name].dtypes for s in subjects_of(name, d)]


def batchable(name: str) -> list[Subject]:
    return subjects_of(name)


DERIVATIVES = (
    Law(law_reverse_mode_is_what_differences_say, differentiable),
    Law(law_forward_and_reverse_mode_agree, differentiable),
    Law(law_derivatives_of_reverse_mode_agree, differentiable),
    Law(law_derivatives_of_forward_mode_agree, differentiable),
    Law(law_cotangents_and_tangents_are_like_their_primals, in_every_float),
    Law(law_vmap_of_grad_is_a_loop_of_grads, differentiable),
    Law(law_grad_of_vmap_is_a_loop_of_grads, differentiable),
    Law(law_vmap_and_jvp_commute, differentiable),
)
LINEARITY = Law(law_what_is_declared_linear_is_linear, differentiable)
VALUES = (
    Law(law_vmap_is_a_loop, batchable),
    Law(law_vmap_of_vmap_is_two_loops, batchable),
    Law(law_vmap_never_loops, batchable),
    Law(law_eval_shape_is_the_shape_of_the_result, in_every_dtype),
)


def title(law: Law) -> str:
    return law.check.__name__.removeprefix("law_")


def has_derivative(name: str) -> bool:
    return RULE in ROWS[name].grads or (ZERO in ROWS[name].grads and ROWS[name].elementwise and name != "stop_gradient")


CELLS = [
    *((law, name) for law in VALUES for name in ROWS),
    *((law, name) for law in DERIVATIVES for name in ROWS if has_derivative(name)),
    *((LINEARITY, name) for name in ROWS if isinstance(registry[name].jvp, Linear)),
]


@pytest.mark.parametrize(("law", "name"), [pytest.param(law, name, id=f"{name}-{title(law)}") for law, name in CELLS])
def test_law(law, name):
    law(name)


# --- what the laws cannot say: which kernels those few are ------------------------------------------------------------


def test_a_batch_of_products_is_one_product():
    x, w = knp.ones((5, 2, 3)), knp.ones((5, 3, 4))
    for axes, operands in (((0, 0), (x, w)), ((0, None), (x, w[0])), ((None, 0), (x[0], w))):
        with counted_kernels() as counts:
            y = knet.vmap(knp.matmul, in_axes=axes)(*operands)
        assert y.shape == (5, 2, 4)
        assert counts["matmul"] == 1, f"in_axes={axes}: {counts}"


@pytest.mark.parametrize(("left", "right"), [((2, 3), (3,)), ((3,), (3, 2)), ((3,), (3,)), ((2, 3), (3, 2))])
def test_a_product_of_matrices_or_vectors_is_one_kernel(left, right):
    x, w = np.arange(math.prod(left)).reshape(left), np.arange(math.prod(right)).reshape(right)
    a, b = knp.asarray(x), knp.asarray(w)
    for _ in range(3):  # without a plan, and with one
        with counted_kernels() as counts:
            y = a @ b
        assert counts.total() == 1, counts
        assert np.array_equal(y, x @ w)


def test_a_batch_of_vectors_is_one_product_with_the_matrix():
    x, v, many = knp.arange(12.0).reshape(3, 4), knp.arange(4.0), knp.arange(20.0).reshape(5, 4)
    for f, args, want in (
        (lambda u: x @ u, (many,), many @ x.T),
        (lambda u: u @ x.T, (many,), many @ x.T),
        (lambda u: v @ u, (many,), many @ v),
        (lambda u: u @ v, (knp.stack([x, -x]),), knp.stack([x @ v, -(x @ v)])),
    ):
        batched = knet.jit(knet.vmap(f))
        (product,) = (n for n in batched.lower(*args).graph.nodes if n.op.name == "matmul")
        assert [len(y.shape) for y in product.values] == [2, 2]  # more axes would be as many small products
        assert np.array_equal(batched(*args), want) and np.array_equal(knet.vmap(f)(*args), want)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_of_convolutions_is_one_convolution(groups):
    params = {"stride": (1,), "padding": ((1, 1),), "dilation": (1,), "groups": groups}
    x, w = knp.ones((5, 2, 4, 6)), knp.ones((5, 6, 4 // groups, 3))

    def conv(x, w):
        return registry["conv"](x, w, **params)

    for axes, operands in (((0, 0), (x, w)), ((0, None), (x, w[0])), ((None, 0), (x[0], w))):
        with counted_kernels() as counts:
            y = knet.vmap(conv, in_axes=axes)(*operands)
        assert y.shape == (5, 2, 6, 6)
        assert counts["conv"] == 1, f"in_axes={axes}: {counts}"
        with counted_kernels() as counts:
            knet.vmap(knet.grad(lambda x, w: conv(x, w).sum(), (0, 1)), in_axes=axes)(*operands)
        assert [counts[n] for n in ("conv", "conv_input_grad", "conv_weight_grad")] == [1, 1, 1], f"{axes}: {counts}"


def test_the_count_sees_a_loop():
    with counted_kernels() as counts:
        for _ in range(3):
            knp.exp(knp.ones(2))
    assert counts["exp"] == 3
    knp.exp(knp.ones(2))
    assert counts["exp"] == 3, "the count goes on after its context"
