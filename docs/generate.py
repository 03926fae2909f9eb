"""Writes docs/functions.md from the namespace and the registry: ``python docs/generate.py``.

Nothing there is typed by hand but the names of the array API standard. Whether a function that is made of primitives
has a derivative is found by differentiating it at small examples.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special

import knet.core.errors
import knet.numpy as knp
from knet.backends.cpu import backend as cpu
from knet.core.ops import register_all
from knet.core.pointwise import Elementwise
from knet.core.primitive import ZERO, Primitive, registry

PAGE = Path(__file__).parent / "functions.md"

ARRAY_API = set(
    """
    abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh bitwise_and
    bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor broadcast_arrays broadcast_to can_cast
    ceil clip concat conj copysign cos cosh count_nonzero cumulative_prod cumulative_sum diff divide empty empty_like
    equal exp expand_dims expm1 eye finfo flip floor floor_divide from_dlpack full full_like greater greater_equal hypot
    iinfo imag isdtype isfinite isinf isnan less less_equal linspace log log10 log1p log2 logaddexp logical_and
    logical_not logical_or logical_xor matmul matrix_transpose max maximum mean meshgrid min minimum moveaxis multiply
    negative nextafter nonzero not_equal ones ones_like permute_dims positive pow prod real reciprocal remainder repeat
    reshape result_type roll round searchsorted sign signbit sin sinh sort sqrt square squeeze stack std subtract sum
    take take_along_axis tan tanh tensordot tile tril triu trunc unique_all unique_counts unique_inverse unique_values
    unstack var vecdot where zeros zeros_like
    linalg.cholesky linalg.cross linalg.det linalg.diagonal linalg.eigh linalg.eigvalsh linalg.inv linalg.matmul
    linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.matrix_transpose linalg.outer linalg.pinv linalg.qr
    linalg.slogdet linalg.solve linalg.svd linalg.svdvals linalg.tensordot linalg.trace linalg.vecdot linalg.vector_norm
    fft.fft fft.fftfreq fft.fftn fft.fftshift fft.hfft fft.ifft fft.ifftn fft.ifftshift fft.ihfft fft.irfft fft.irfftn
    fft.rfft fft.rfftfreq fft.rfftn
    """.split()
)

NO_ARRAYS = "none: it takes no arrays of numbers"
V = np.array([0.3, 0.7, 0.2])
M = np.array([[0.9, 0.2, 0.1], [0.2, 0.8, 0.3], [0.1, 0.3, 0.7]])
N = np.array([0, 2, 1])
EXAMPLES: tuple[tuple[Any, ...], ...] = (
    (M,), (V,), (M, V), (V, V), (V, V, V), (M, M), (V, N), (M, 1), (M, (9,)), (M, 0, 1), (0.5, V), (V, 0.5),
    (M, (1, 0)), (M, np.array([[0], [1], [2]])), (N, V), (V, N, V), ([V, V],), ("ij,jk", M, M), (3, V), (V, 2),
    (M, N, N), (V, V, 0.5), (M, (2, 3, 3)), (M, "cpu"), (V, V, 3), (np.array(1 + 1j),), (V, "float64"), (M, (2, 2)),
)  # fmt: skip


def functions() -> Iterator[tuple[str, Any]]:
    """Public functions of knet.numpy and its extensions, by name."""
    for prefix, module in (("", knp), ("linalg.", knp.linalg), ("fft.", knp.fft)):
        for name in sorted(module.__all__, key=str.lower):
            value = getattr(module, name)
            if callable(value) and not isinstance(value, type):
                yield prefix + name, value


def standard(name: str) -> str:
    """Where the function's name and meaning come from."""
    if name in ARRAY_API:
        return "array API"
    module, _, last = name.rpartition(".")
    if hasattr(getattr(np, module) if module else np, last):
        return "NumPy"
    return "SciPy" if hasattr(scipy.special, last) else "Knet"


def rules(primitive: Primitive) -> str:
    """Derivative of a primitive: yes, zero, or the reason for none; by operand where these differ."""
    entries = primitive.vjp if isinstance(primitive.vjp, tuple) else (primitive.vjp,)
    texts = ["zero" if e is ZERO else f"none: {e}" if isinstance(e, str) else "yes" for e in entries]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"by {primitive.argname(i)} {t}" for i, t in enumerate(texts))


def derivative(function: Any) -> str:
    """Derivative of a function: that of the primitive, or what differentiating an example shows."""
    if isinstance(function, Primitive):
        return rules(function)
    if function is knp.broadcast_shapes:
        return "none: it takes shapes"
    found = [text for example in EXAMPLES if (text := probe(function, example)) is not None]
    return (
        min(found, key=lambda text: ("yes", "zero").index(text) if text in ("yes", "zero") else 2)
        if found
        else NO_ARRAYS
    )


def probe(function: Any, example: tuple[Any, ...]) -> str | None:
    """What happens to an example's derivative, or None if the function does not take such arguments."""
    floating = [i for i, x in enumerate(example) if isinstance(x, (np.ndarray, list)) and x is not N]
    seen: list[Any] = []

    def call(*xs: Any) -> Any:
        arguments = [knp.asarray(x) if isinstance(x, np.ndarray) else x for x in example]
        for i, x in zip(floating, xs, strict=True):
            arguments[i] = x
        results = knet.tree.leaves(function(*arguments))
        seen.extend(getattr(y, "dtype", None) for y in results)
        return [y for y in results if getattr(y, "dtype", np.dtype(bool)).kind in "fc"]

    def arrays(x: Any) -> Any:
        return list(map(knp.asarray, x)) if isinstance(x, list) else knp.asarray(x)

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            values, pull_back = knet.vjp(call, *(arrays(example[i]) for i in floating))
            if not values:
                kinds = " and ".join(dict.fromkeys(str(d) for d in seen if d is not None)) or "no array"
                return f"none: the result is {kinds}"
            gradients = knet.tree.leaves(pull_back([knp.ones_like(y) for y in values]))
    except knet.core.errors.NotDifferentiable as e:
        return f"none: {str(e).splitlines()[0].partition(': ')[2].rstrip('.')}"
    except Exception:  # the example does not suit the function: there are others
        return None
    return "yes" if any(bool((g != 0).any()) for g in gradients) else "zero"


def backends(function: Any) -> str:
    """Where a function computes: on every backend, or wholly or in part on the host, which must know the values."""
    if isinstance(function, Primitive):
        found = kernels(function)
        return f"all; kernels: {found}" if found else "all"
    if derivative(function).startswith("none: it takes"):
        return "all"
    eager = False
    for example in EXAMPLES:
        arrays = [x for x in example if isinstance(x, np.ndarray)]

        def call(*xs: Any, example: Any = example) -> Any:
            given = iter(xs)
            results = function(*[next(given) if isinstance(x, np.ndarray) else x for x in example])
            return [y for y in knet.tree.leaves(results) if hasattr(y, "dtype")]

        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                if not arrays or not call(*map(knp.asarray, arrays)):
                    continue
                eager = True
                knet.eval_shape(call, *map(knp.asarray, arrays))
        except Exception:  # the example does not suit the function, or the function needs values
            continue
        return "all"
    return "all, by way of the host" if eager else "all"


def first_line(value: Any) -> str:
    """First sentence of a docstring, fit for a table."""
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    sentence = text.split(". ")[0].split("; see")[0].rstrip(".:;")
    return sentence.replace("|", "\\|").replace(":func:", "")


def kernels(primitive: Primitive) -> str:
    """What computes a primitive, besides its NumPy body."""
    found = []
    if cpu.kernel(primitive) is not primitive.body:
        found.append("CPU")
    if isinstance(primitive, Elementwise) and primitive.c:
        found.append("C")
    return ", ".join(found)


def batches(primitive: Primitive) -> str:
    """Whether vmap takes a primitive."""
    return f"no: {primitive.batch}" if isinstance(primitive.batch, str) else "yes"


def own_primitives() -> list[Primitive]:
    """The registry's primitives that belong to Knet, by name."""
    register_all()
    return [p for _, p in sorted(registry.items()) if p.body is not None]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table in Markdown."""
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]


def page() -> str:
    """The text of docs/functions.md."""
    known: dict[int, str] = {}
    for name, function in functions():
        if id(function) not in known or (name in ARRAY_API and known[id(function)] not in ARRAY_API):
            known[id(function)] = name
    rows = []
    for name, function in functions():
        if known[id(function)] != name:
            rows.append((f"`{name}`", f"another name of `{known[id(function)]}`", standard(name), "", ""))
            continue
        rows.append((f"`{name}`", first_line(function), standard(name), derivative(function), backends(function)))
    lines = [
        "# Functions",
        "",
        "Written by `python docs/generate.py`; do not edit.",
        "",
        "The functions of `knet.numpy`. *From* says whose name and meaning a function has: the Python array API "
        "standard 2024.12, NumPy, SciPy, or none of them. *Derivative* is `yes`, `zero` (the function is constant in "
        "steps), or `none` with the reason, which is also what `NotDifferentiable` says. *Backends*: a function "
        "computes on `all` of them, as the primitives do that it is made of; `by way of the host` if it must know "
        "values there, such as to size its result, so that it cannot stand within transformations that do not have "
        "them. *Kernels* of a primitive are explained below.",
        "",
        *table(("function", "what it is", "from", "derivative", "backends"), rows),
        "",
        "# Primitives",
        "",
        "What the functions are made of. Every primitive has a body in NumPy, which every backend can fall back on. "
        "*Kernels*: `CPU`, it has a faster one of its own there; `C`, it carries an expression in C, from which the "
        "kernels of all devices are printed. *vmap* is `yes` or the reason why not.",
        "",
        *table(
            ("primitive", "what it is", "derivative", "vmap", "kernels"),
            [(f"`{p.name}`", first_line(p), rules(p), batches(p), kernels(p)) for p in own_primitives()],
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} written", file=sys.stderr)


if __name__ == "__main__":
    main()
