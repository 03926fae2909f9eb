"""Exception types, and one function for each message.

A message says where (the operation and its arguments), what came, which rule that breaks, and the fix in the user's
code. Call sites read ``raise errors.broadcast(...)``; ``tests/core/test_errors.py`` produces every text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "ArgumentError",
    "DTypeError",
    "DeviceError",
    "IndexOutOfBounds",
    "KnetError",
    "LinAlgError",
    "MissingKernel",
    "NonFinite",
    "NotDifferentiable",
    "OutOfMemory",
    "ShapeError",
    "TracerError",
    "TreeError",
]


class KnetError(Exception):
    """Base of every error that Knet raises on purpose."""


class ShapeError(KnetError, ValueError):
    """Shapes, axes or sizes that do not fit."""


class ArgumentError(KnetError, ValueError):
    """A setting outside its range."""


class AxisError(ShapeError, IndexError):
    """An axis that the array does not have."""


class IndexOutOfBounds(KnetError, IndexError):
    """An index outside its axis."""


class DTypeError(KnetError, TypeError):
    """A data type that the operation does not accept."""


class TreeError(KnetError, ValueError):
    """Pytrees whose structures differ, or a leaf that is no array."""


class DeviceError(KnetError, RuntimeError):
    """A backend or device that is absent, unknown, or mixed with another."""


class NotDifferentiable(KnetError, TypeError):
    """An operation without a derivative stands between input and output."""


class LinAlgError(KnetError, np.linalg.LinAlgError):
    """A matrix without the property that a factorization needs: regular, positive definite, finite."""


class MissingKernel(KnetError, NotImplementedError):
    """A backend has no kernel for a primitive."""


class TracerError(KnetError, TypeError):
    """A tracer was used where a value is needed, or after its trace had ended."""


class NonFinite(KnetError, FloatingPointError):
    """A NaN or an infinity appeared while debug_nans was on."""


class OutOfMemory(KnetError, MemoryError):
    """A device has no room for a buffer."""


def describe(x: Any) -> str:
    """Short text for an operand: dtype and shape of an array, the value of a scalar."""
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    if shape is None or dtype is None:
        return f"{type(x).__name__} {x!r}"[:60]
    return f"{dtype} {list(shape)}"


def _call(name: str, argnames: Sequence[str]) -> str:
    return f"{name}({', '.join(argnames)})"


def _operands(argnames: Sequence[str], args: Sequence[Any]) -> str:
    return ", ".join(f"{n} is {describe(a)}" for n, a in zip(argnames, args, strict=False))


def _suggest(name: str, valid: Iterable[str]) -> str:
    import difflib  # deferred: for the one message that has a suggestion

    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


# --- shapes ---------------------------------------------------------------------------------------------------------


def broadcast(name: str, argnames: Sequence[str], args: Sequence[Any]) -> ShapeError:
    return ShapeError(
        f"{_call(name, argnames)}: {_operands(argnames, args)}: shapes do not broadcast; aligned from the right, two "
        f"sizes must be equal or one of them 1.\n  fix: reshape or transpose an operand, or insert axes, x[:, None]."
    )


def matmul(x: Any, w: Any) -> ShapeError:
    xs, ws = list(x.shape), list(w.shape)
    if not xs or not ws:
        return ShapeError(
            f"matmul(x, w): x {xs} and w {ws}: both operands need at least one axis.\n  fix: use x * w for scalars."
        )
    row = len(ws) - 2
    if xs[-1] != ws[row if row >= 0 else 0]:
        axis = "second-to-last axis" if len(ws) > 1 else "only axis"
        if len(ws) > 1 and xs[-1] == ws[-1]:
            fix = "matmul(x, w.mT), or store w as [in, out]."
        elif len(xs) > 1 and xs[-2] == ws[max(row, 0)]:
            fix = "matmul(x.mT, w)."
        else:
            fix = f"give w {xs[-1]} rows, or check the features of x."
        return ShapeError(
            f"matmul(x, w): x {xs} and w {ws} do not fit: x's last axis ({xs[-1]}) must equal w's {axis} "
            f"({ws[row if row >= 0 else 0]}).\n  fix: {fix}"
        )
    return ShapeError(
        f"matmul(x, w): the batch axes of x {xs} and w {ws} do not broadcast.\n"
        f"  fix: make all axes but the last two equal, or 1."
    )


def reshape(old: Sequence[int], new: Sequence[int]) -> ShapeError:
    return ShapeError(
        f"reshape(x, shape): x {list(old)} cannot take shape {list(new)}: the number of elements must stay the same, "
        f"and at most one size may be -1.\n  fix: choose sizes whose product is {_product(old)}."
    )


def _product(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def axis_out_of_range(name: str, axis: Any, ndim: int) -> AxisError:
    rule = f"must lie in [{-ndim}, {ndim - 1}]" if ndim else "does not exist: x is a scalar"
    return AxisError(f"{name}(x, axis): axis {axis} for x with {ndim} axes: an axis {rule}.\n  fix: correct axis=.")


def repeated_axis(name: str, axis: Any) -> ShapeError:
    return ShapeError(f"{name}(x, axis): axis={axis} names an axis twice: axes must be distinct.\n  fix: drop one.")


def empty_reduction(name: str, shape: Sequence[int], axis: Any) -> ShapeError:
    return ShapeError(
        f"{name}(x, axis): x {list(shape)} is empty along axis {axis}: {name} of no elements is undefined.\n"
        f"  fix: check x.size first, or reduce along another axis."
    )


def permutation(axes: Any, ndim: int) -> ShapeError:
    return ShapeError(
        f"permute_dims(x, axes): axes={axes} for x with {ndim} axes: axes must be a permutation of 0..{ndim - 1}.\n"
        f"  fix: name each axis once."
    )


def broadcast_to(old: Sequence[int], new: Sequence[int]) -> ShapeError:
    return ShapeError(
        f"broadcast_to(x, shape): x {list(old)} does not broadcast to {list(new)}: aligned from the right, each size "
        f"of x must be 1 or equal.\n  fix: reshape x first."
    )


def squeeze(shape: Sequence[int], axis: int) -> ShapeError:
    return ShapeError(
        f"squeeze(x, axis): axis {axis} of x {list(shape)} has size {shape[axis]}: only axes of size 1 can go.\n"
        f"  fix: x[..., 0] picks one element along an axis; mean or sum reduces it."
    )


def concatenate(shapes: Sequence[Sequence[int]], axis: int) -> ShapeError:
    return ShapeError(
        f"concatenate(arrays, axis={axis}): shapes {[list(s) for s in shapes]}: all must be equal except along axis "
        f"{axis}.\n  fix: reshape the odd one out."
    )


def no_arrays(name: str) -> ShapeError:
    return ShapeError(f"{name}(arrays): an empty list: at least one array is needed.\n  fix: pass one or more arrays.")


def einsum(spec: str, reason: str) -> ShapeError:
    return ShapeError(f"einsum({spec!r}, ...): {reason}.\n  fix: write one letter for each axis of each operand.")


def matrix(name: str, argname: str, shape: Sequence[int]) -> ShapeError:
    if len(shape) < 2:
        rule, fix = "a matrix [..., M, N] has two axes or more", "insert the missing axis, x[:, None] for a column"
    else:
        rule, fix = "the last two axes must be equal", "pass square matrices; knet.numpy.linalg.lstsq and pinv take any"
    return ShapeError(f"{name}({argname}): {argname} {list(shape)}: {rule}.\n  fix: {fix}.")


def right_side(name: str, a: Sequence[int], b: Sequence[int]) -> ShapeError:
    return ShapeError(
        f"{name}(a, b): a {list(a)} and b {list(b)} do not fit: b [..., M, K] (or [M]) needs as many rows as a "
        f"[..., M, M], and the batch axes must broadcast.\n"
        f"  fix: transpose b, or add an axis, b[..., None], for a stack of vectors."
    )


def singular(name: str, argname: str, x: Any) -> LinAlgError:
    return LinAlgError(
        f"{name}({argname}): {argname} is {describe(x)} and has a singular matrix: one without an inverse.\n"
        f"  fix: use knet.numpy.linalg.pinv or lstsq, or add a small multiple of the identity."
    )


def not_positive_definite(name: str, argname: str, x: Any) -> LinAlgError:
    return LinAlgError(
        f"{name}({argname}): {argname} is {describe(x)} and has a matrix that is not positive definite.\n"
        f"  fix: check that it is symmetric with positive eigenvalues; against rounding, add a small multiple of the "
        f"identity."
    )


def not_converged(name: str, argname: str, x: Any) -> LinAlgError:
    return LinAlgError(
        f"{name}({argname}): {argname} is {describe(x)}: the iteration did not converge, which finite matrices hardly "
        f"ever cause.\n  fix: look for NaN or infinity, knet.numpy.isfinite({argname}).all()."
    )


def conv(name: str, reason: str, x: Sequence[int], w: Sequence[int], fix: str) -> ShapeError:
    return ShapeError(f"{name}(x, w): x {list(x)} and w {list(w)}: {reason}.\n  fix: {fix}.")


def window(name: str, reason: str, shape: Sequence[int], fix: str) -> ShapeError:
    return ShapeError(f"{name}(x): x {list(shape)}: {reason}.\n  fix: {fix}.")


def shape_argument(name: str, argument: str, value: Any, rule: str, fix: str) -> ShapeError:
    return ShapeError(f"{name}: {argument}={value!r}: {rule}.\n  fix: {fix}.")


def too_many_indices(shape: Sequence[int], count: int) -> IndexOutOfBounds:
    return IndexOutOfBounds(
        f"x[...]: {count} indices for x {list(shape)}, which has {len(shape)} axes.\n  fix: drop an index."
    )


def index_out_of_bounds(index: Any, size: int, axis: int) -> IndexOutOfBounds:
    return IndexOutOfBounds(
        f"x[...]: index {index} on axis {axis} of size {size}: an index must lie in [{-size}, {size - 1}].\n"
        f"  fix: correct the index, or clip it with knet.numpy.clip."
    )


def empty_axis(name: str, mode: str, axis: int) -> IndexOutOfBounds:
    return IndexOutOfBounds(
        f"{name}: mode={mode!r} on axis {axis} of size 0: there is no element that an index could be led to.\n"
        f"  fix: pass mode='fill', or an array with elements."
    )


def bad_index(index: Any) -> DTypeError:
    return DTypeError(
        f"x[...]: index {describe(index)}: an index is an integer, a slice, None, ..., or an array of integers or "
        f"booleans.\n  fix: convert it with .astype('int64')."
    )


def mask_shape(mask: Sequence[int], shape: Sequence[int], axis: int) -> IndexOutOfBounds:
    return IndexOutOfBounds(
        f"x[mask]: mask {list(mask)} on x {list(shape)} from axis {axis}: a mask must have the sizes of the axes that "
        f"it selects from.\n  fix: build the mask from x itself, such as x > 0."
    )


def update_shape(update: Sequence[int], target: Sequence[int]) -> ShapeError:
    return ShapeError(
        f"x.at[index].set(value): value {list(update)} does not broadcast to the selected {list(target)}.\n"
        f"  fix: reshape the value."
    )


# --- data types -----------------------------------------------------------------------------------------------------


def unsupported_dtype(name: str, argnames: Sequence[str], args: Sequence[Any], accepted: str) -> DTypeError:
    return DTypeError(
        f"{_call(name, argnames)}: {_operands(argnames, args)}: {name} accepts {accepted}.\n"
        f"  fix: convert with x.astype(...)."
    )


def unsupported_limits(name: str, dtype: Any, accepted: str, other: str) -> DTypeError:
    return DTypeError(f"{name}(dtype): {dtype}: {name} accepts {accepted} dtypes.\n  fix: use knet.numpy.{other}.")


def complex_to_real(dtype: Any, target: Any) -> DTypeError:
    return DTypeError(
        f"astype(x, dtype): x is {dtype}, dtype is {target}: a complex number has no single real value.\n"
        f"  fix: name the part, as in knet.numpy.real(x).astype(...), or take knet.numpy.abs(x)."
    )


def api_version(version: Any, known: Sequence[str]) -> ArgumentError:
    return ArgumentError(
        f"__array_namespace__: api_version={version!r}: Knet follows {known[-1]} of the array API standard.\n"
        f"  fix: ask for one of {', '.join(known)}, or leave api_version out."
    )


def scalar_overflow(value: Any, dtype: Any) -> ArgumentError:
    return ArgumentError(
        f"scalar {value}: it does not fit into {dtype}, the dtype of the array that it meets.\n"
        f"  fix: convert the array to a wider dtype with x.astype(...)."
    )


def no_promotion(a: Any, b: Any) -> DTypeError:
    return DTypeError(
        f"promotion: {a} with {b}: no data type holds both exactly.\n  fix: convert one operand with x.astype(...)."
    )


def not_an_array(where: str, value: Any) -> DTypeError:
    return DTypeError(
        f"{where}: {type(value).__name__} {value!r:.60}: an array, a number, or a list of numbers is needed.\n"
        f"  fix: pass data that numpy.asarray turns into numbers."
    )


def ragged(value: Any, reason: str) -> ShapeError:
    return ShapeError(f"asarray: {value!r:.80}: {reason}.\n  fix: give every row the same length.")


# --- differentiation ------------------------------------------------------------------------------------------------


def integer_argument(where: str, dtype: Any, kind: str = "grad") -> DTypeError:
    return DTypeError(
        f"{kind}: {where} is {dtype}: derivatives are defined for floating-point arguments only.\n"
        f"  fix: pass 3.0 for 3, x.astype('float32') for x, or leave the argument out of argnums."
    )


def leaf_not_array(where: str, value: Any) -> TreeError:
    return TreeError(
        f"grad: {where} is {type(value).__name__} {value!r:.40}: every leaf of a differentiated argument must be an "
        f"array or a number.\n  fix: keep strings, functions and other objects outside of the parameters."
    )


def argnums(numbers: Any, count: int) -> ShapeError:
    return ShapeError(
        f"grad: argnums={numbers} but the function was called with {count} positional argument"
        f"{'' if count == 1 else 's'}: argnums counts positional arguments from 0.\n"
        f"  fix: pass the argument by position, or correct argnums."
    )


def non_scalar_loss(name: str, value: Any) -> ShapeError:
    shape = list(value.shape)
    if _product(shape) == 1:
        hint = "return loss.reshape(()), or loss.sum()"
    else:
        hint = "reduce it with .mean() or .sum(), or use knet.vjp for an array-valued function"
    return ShapeError(
        f"grad({name}): the function returned {describe(value)}: grad needs a scalar, shape [].\n  fix: {hint}."
    )


def non_array_loss(name: str, value: Any) -> TreeError:
    hint = (
        "return the loss alone, or use has_aux=True to return (loss, aux)"
        if isinstance(value, tuple)
        else "return the loss as an array"
    )
    return TreeError(
        f"grad({name}): the function returned a {type(value).__name__}: grad needs one scalar array.\n  fix: {hint}."
    )


def aux_pair(name: str, value: Any, kind: str = "grad") -> TreeError:
    result = "loss" if kind == "grad" else "result"
    came = describe(value) if hasattr(value, "dtype") else type(value).__name__
    return TreeError(
        f"{kind}({name}, has_aux=True): the function returned {came}: it must return a pair ({result}, aux).\n"
        f"  fix: return {result}, aux; or drop has_aux."
    )


def integer_loss(name: str, value: Any) -> DTypeError:
    return DTypeError(
        f"grad({name}): the function returned {describe(value)}: a loss must be floating-point.\n"
        f"  fix: compute the loss with float arrays; argmax, comparisons and rounding have no derivative."
    )


def no_rule(name: str, argname: str, reason: str) -> NotDifferentiable:
    return NotDifferentiable(
        f"{name}: no derivative with respect to {argname}: {reason}.\n"
        f"  fix: wrap the argument in knet.stop_gradient(...) if no gradient should flow through it."
    )


def wrong_cotangent(name: str, argname: str, got: Any, want: Any) -> ShapeError:
    return ShapeError(
        f"{name}: the derivative with respect to {argname} returned {describe(got)} for an input of {describe(want)}: "
        f"a cotangent has the shape and dtype of its primal.\n  fix: correct the rule of {name}."
    )


def cotangent_mismatch(where: str, got: Any, want: Any) -> ShapeError:
    return ShapeError(
        f"vjp: the cotangent{where and f' {where}'} is {describe(got)}, the output there is {describe(want)}: they "
        f"must agree in shape and dtype.\n  fix: build the cotangent with knet.numpy.ones_like(output)."
    )


def leaked_tracer(kind: str, function: str, where: str) -> TracerError:
    return TracerError(
        f"{kind}: a traced value of {function} ({where}) was used after its transformation had ended: it leaked out "
        f"through a global, an attribute or a closure.\n  fix: return the value from the function (grad has "
        f"has_aux=True for that) instead of storing it."
    )


def tracer_to_host(kind: str, wanted: str, function: str, what: str) -> TracerError:
    return TracerError(
        f"{wanted}: {what} is a traced value of {kind}({function}): a NumPy array made of it would silently drop its "
        f"derivative.\n  fix: use the function of the same name from knet.numpy, or knet.stop_gradient(x) first, "
        f"which gives a plain array."
    )


def traced_move(what: str, device: Any) -> TracerError:
    return TracerError(
        f"to_device(x, {str(device)!r}): x is a traced value, {what}: a transformation stays on one device.\n"
        f"  fix: move the data before the transformation."
    )


def ufunc_refused(ufunc: str, known: bool) -> TracerError:
    fix = f"call knet.numpy.{ufunc}" if known else "use functions of knet.numpy, or convert with numpy.asarray(x) first"
    return TracerError(
        f"numpy.{ufunc}: a Knet array was passed to a NumPy function: NumPy would leave the device and the trace.\n"
        f"  fix: {fix}."
    )


def abstract_to_host(wanted: str, function: str, what: str) -> TracerError:
    return TracerError(
        f"{wanted}: a value of {function}, {what}, is asked for, but only shapes are being computed.\n"
        f"  fix: knet.numpy.where(condition, a, b) or knet.cond in place of if."
    )


def staged_to_host(wanted: str, function: str, what: str, value: str, line: str) -> TracerError:
    return TracerError(
        f"{wanted} in {line}: {what}, {value}, has no value while jit({function}) is traced: the traced program is "
        f"run later, for many values.\n  fix: knet.numpy.where(condition, a, b) or knet.cond in place of if, "
        f"knet.while_loop in place of while; or name the argument in static_argnums, and jit traces for each value."
    )


def jit_leaf(function: str, where: str, value: Any) -> TreeError:
    return TreeError(
        f"jit({function}): {where} is of type {type(value).__name__}, {value!r:.60}: arguments must be pytrees of "
        f"arrays and numbers.\n  fix: name it in static_argnums or static_argnames, or close over it."
    )


def jit_result(function: str, path: str, value: Any) -> TreeError:
    return TreeError(
        f"jit({function}): the result{path} is of type {type(value).__name__}, {value!r:.60}: results must be pytrees "
        f"of arrays and numbers.\n  fix: return it from a function outside of jit."
    )


def static_unhashable(function: str, where: Any, value: Any) -> DTypeError:
    return DTypeError(
        f"jit({function}): static argument {where!r} is of type {type(value).__name__}, which has no hash: jit looks "
        f"up what it compiled by the values of static arguments.\n  fix: pass a tuple in place of a list, or make the "
        f"argument an array that is not static."
    )


def not_compiled(function: str, device: Any) -> DeviceError:
    return DeviceError(
        f"profile: jit({function}) is not compiled for {device}, but runs operation by operation: there are no kernels "
        f"to measure.\n  fix: install a C compiler (see KNET_CC), and pass arrays that have elements."
    )


def donated(what: str) -> ArgumentError:
    return ArgumentError(
        f"{what}: the array was donated to a jitted function, which has written its results into its memory.\n"
        f"  fix: use what the function returned, or leave the argument out of donate_argnums."
    )


def donated_twice(function: str, what: str, closed_over: bool) -> ArgumentError:
    other = "is also closed over by the function" if closed_over else "is passed a second time in the same call"
    return ArgumentError(
        f"jit({function}): {what} is donated and {other}: its memory would be overwritten while it is still read.\n"
        f"  fix: pass a copy of it, x + 0, or leave the argument out of donate_argnums."
    )


def arguments_on_devices(function: str, one: Any, other: Any) -> DeviceError:
    return DeviceError(
        f"jit({function}): one argument is on {one}, another on {other}: all arguments must be on one device.\n"
        f"  fix: move them with x.to_device(...)."
    )


def ambiguous_truth(shape: Sequence[int]) -> ShapeError:
    return ShapeError(
        f"bool(x): x {list(shape)} has {_product(shape)} elements: the truth of an array needs exactly one.\n"
        f"  fix: use knet.numpy.any(x) or knet.numpy.all(x)."
    )


def not_scalar(kind: str, shape: Sequence[int]) -> ShapeError:
    return ShapeError(
        f"{kind}(x): x {list(shape)}: only an array of one element converts to a Python {kind}.\n"
        f"  fix: index it, x[0], or reduce it, x.sum()."
    )


def zero_dim_iteration(what: str) -> DTypeError:
    return DTypeError(
        f"{what}: a 0-d array has no axis to iterate over.\n  fix: use the value itself, or x.reshape(-1)."
    )


def immutable(index: Any) -> DTypeError:
    return DTypeError(
        f"x[{_index_text(index)}] = value: Knet arrays are immutable.\n"
        f"  fix: x = x.at[{_index_text(index)}].set(value)."
    )


def _index_text(index: Any) -> str:
    if isinstance(index, tuple):
        return ", ".join(map(_index_text, index))
    if isinstance(index, slice):
        parts = ["" if v is None else str(v) for v in (index.start, index.stop)]
        return ":".join(parts) + ("" if index.step is None else f":{index.step}")
    return "..." if index is Ellipsis else repr(index) if isinstance(index, int) else "index"


def unhashable() -> DTypeError:
    return DTypeError(
        "hash(x): arrays compare by value and elementwise, so they have no hash.\n"
        "  fix: use id(x), or a tuple of Python numbers, x.tolist(), as a key."
    )


def not_constructible() -> DTypeError:
    return DTypeError(
        "Array(...): arrays are not built from their class.\n  fix: knet.numpy.asarray(data), or zeros, ones, arange."
    )


def tangent_mismatch(where: str, got: Any, want: Any) -> ShapeError:
    return ShapeError(
        f"jvp: the tangent {where} is {describe(got)}, the primal there is {describe(want)}: they must agree in shape "
        f"and dtype.\n  fix: build the tangent with knet.numpy.ones_like(primal)."
    )


def not_linear(name: str) -> NotDifferentiable:
    return NotDifferentiable(
        f"linear_transpose({name}): the function is not linear: its derivative depends on where it is taken.\n"
        f"  fix: transpose a linear function, or use knet.vjp for the derivative of this one."
    )


def reverse_through_while(name: str) -> NotDifferentiable:
    return NotDifferentiable(
        f"while_loop({name}): reverse mode through a loop whose number of steps is not known beforehand would have to "
        f"keep every step.\n  fix: use knet.scan or knet.fori_loop with a fixed number of steps, or forward mode "
        f"(knet.jvp, knet.jacfwd)."
    )


def rule_missing(kind: str, name: str, method: str) -> TreeError:
    return TreeError(f"{kind}({name}): called before its derivative was given.\n  fix: call {name}.{method} first.")


def keyword_only(name: str, names: Sequence[str]) -> TreeError:
    return TreeError(
        f"{name}: {', '.join(names)} can be passed by keyword only, but a derivative given by hand takes all arguments "
        f"by position.\n  fix: drop the * from {name}'s signature."
    )


def fwd_pair(name: str, got: Any) -> TreeError:
    return TreeError(
        f"custom_vjp({name}): fwd returned {type(got).__name__}: it must return a pair (result, residuals).\n"
        f"  fix: return result, residuals."
    )


def jvp_pair(name: str, got: Any) -> TreeError:
    return TreeError(
        f"custom_jvp({name}): the rule returned {type(got).__name__}: it must return a pair (result, tangent).\n"
        f"  fix: return result, tangent."
    )


def bwd_structure(name: str, got: Any, count: int) -> TreeError:
    came = f"a tuple of {len(got)}" if isinstance(got, tuple) else type(got).__name__
    return TreeError(
        f"custom_vjp({name}): bwd returned {came}: it must return a tuple with one cotangent for each of the {count} "
        f"arguments.\n  fix: return (g,) for one argument; None stands for zero."
    )


# --- batching -------------------------------------------------------------------------------------------------------


def no_batching(name: str, reason: str) -> NotDifferentiable:
    return NotDifferentiable(f"vmap: {name} does not batch: {reason}.\n  fix: call it outside of vmap.")


def batched_to_host(wanted: str, function: str, what: str, size: int) -> TracerError:
    return TracerError(
        f"{wanted}: a value of vmap({function}), {what}, is asked for, but vmap computes it for {size} examples at "
        f"once: there is no single value.\n  fix: knet.numpy.where(condition, a, b) or knet.cond in place of if, "
        f"knet.while_loop in place of while."
    )


def in_axes_count(name: str, in_axes: Any, count: int) -> TreeError:
    return TreeError(
        f"vmap({name}): in_axes={in_axes} has {len(in_axes)} entries for {count} positional arguments.\n"
        f"  fix: give one entry for each argument, None for one that all examples share."
    )


def in_axes_range(name: str, where: str, value: Any, axis: Any) -> ShapeError:
    return ShapeError(
        f"vmap({name}): {where} is {describe(value)}, which has no axis {axis} to map over.\n"
        f"  fix: pass an array with a batch axis, or in_axes=None for this argument."
    )


def nothing_batched(name: str) -> ShapeError:
    return ShapeError(
        f"vmap({name}): no argument has a batch axis: every entry of in_axes is None, or there are no arrays.\n"
        f"  fix: map over at least one argument."
    )


def batch_sizes(name: str, sizes: dict[str, int]) -> ShapeError:
    listed = ", ".join(f"{where} has {n}" for where, n in list(sizes.items())[:6])
    return ShapeError(
        f"vmap({name}): the batch axes differ in size: {listed}.\n  fix: pass as many examples in every argument, or "
        f"in_axes=None for one that all examples share."
    )


def out_axes_none(name: str, value: Any) -> ShapeError:
    return ShapeError(
        f"vmap({name}): out_axes=None for a result, {describe(value)}, that differs between examples.\n"
        f"  fix: give the axis at which the batch should stand, such as out_axes=0."
    )


def out_axes_range(name: str, value: Any, axis: Any) -> ShapeError:
    return ShapeError(
        f"vmap({name}): out_axes={axis} for a batched result {describe(value)}: there is no such axis.\n"
        f"  fix: give an axis in [{-len(value.shape)}, {len(value.shape) - 1}]."
    )


# --- control flow ---------------------------------------------------------------------------------------------------


def not_a_predicate(where: str, value: Any) -> DTypeError:
    return DTypeError(
        f"{where}: the condition is {describe(value)}: it must be a scalar boolean.\n"
        f"  fix: reduce it with .any() or .all(), or compare it."
    )


def branch_mismatch(where: str, path: str, first: Any, other: Any) -> TreeError:
    return TreeError(
        f"{where}: the branches' results differ at {path or 'the result'}: {first} and {other}: all branches must "
        f"return one structure with equal shapes and dtypes.\n"
        f"  fix: convert with .astype, or broadcast, in the odd branch."
    )


def carry_mismatch(where: str, path: str, before: Any, after: Any) -> TreeError:
    return TreeError(
        f"{where}: the carry{path} is {before} before a step and {after} after it: the body must return a carry of the "
        f"structure, shapes and dtypes that it was given.\n  fix: convert with .astype in the body, or start with an "
        f"initial value of that type."
    )


def scan_lengths(lengths: dict[str, int], where: str = "scan") -> ShapeError:
    listed = ", ".join(f"{name} has {n}" for name, n in list(lengths.items())[:6])
    return ShapeError(
        f"{where}: the leading axes differ in size: {listed}.\n"
        f"  fix: give xs leading axes of one size, equal to length."
    )


def scan_needs_length() -> ShapeError:
    return ShapeError(
        "scan: xs has no arrays and length is None: the number of steps is unknown.\n  fix: give length=."
    )


def non_finite(name: str, argnames: Sequence[str], args: Sequence[Any], kind: str) -> NonFinite:
    parts = ", ".join(f"{n} is {describe(a)}{_range(a)}" for n, a in zip(argnames, args, strict=True))
    return NonFinite(
        f"{_call(name, argnames)}: the result has the first {kind}; {parts}.\n"
        f"  fix: keep the operands inside {name}'s domain, for instance with knet.numpy.where or clip before it."
    )


def _range(x: Any) -> str:
    return f" in [{x.min():.6g}, {x.max():.6g}]" if getattr(x, "size", 0) and x.dtype.kind in "iuf" else ""


# --- trees ----------------------------------------------------------------------------------------------------------


def tree_mismatch(where: str, got: Any, want: Any, fix: str) -> TreeError:
    return TreeError(f"{where}: the structures differ: {got} where {want} is expected.\n  fix: {fix}.")


# --- devices --------------------------------------------------------------------------------------------------------


def unknown_backend(name: str, valid: Sequence[str]) -> DeviceError:
    return DeviceError(
        f"backend {name!r}: unknown; the backends are {', '.join(map(repr, valid))}.\n"
        f"  fix: {_suggest(name.partition(':')[0], valid)}Set KNET_BACKEND or call knet.set_backend with one of these."
    )


def backend_unavailable(name: str, reason: str) -> DeviceError:
    return DeviceError(
        f"backend {name!r}: cannot be loaded: {reason}.\n"
        f"  fix: run python -m knet.backends to see what each backend needs, or use KNET_BACKEND=cpu."
    )


def unknown_device(name: str, count: int) -> DeviceError:
    return DeviceError(
        f"device {name!r}: this backend has {count} device{'' if count == 1 else 's'}, numbered from 0.\n"
        f"  fix: use an index below {count}."
    )


def mixed_devices(name: str, argnames: Sequence[str], args: Sequence[Any]) -> DeviceError:
    places = ", ".join(
        f"{n} is on {a.device}" for n, a in zip(argnames, args, strict=False) if getattr(a, "device", None) is not None
    )
    return DeviceError(
        f"{_call(name, argnames)}: {places}: all operands must be on one device.\n"
        f"  fix: move one of them with x.to_device(...)."
    )


def no_float64(name: str) -> DTypeError:
    return DTypeError(
        f"{name}: the device does not compute with float64.\n"
        f"  fix: compute in float32, x.astype('float32'), or on the host, x.to_device('cpu')."
    )


def missing_kernel(name: str, backend: str) -> MissingKernel:
    return MissingKernel(
        f"{name}: the {backend} backend has no kernel for it, and KNET_FALLBACK=error forbids the host.\n"
        f"  fix: set KNET_FALLBACK=warn to compute it on the host."
    )


def no_opencl_device(platforms: Sequence[str]) -> DeviceError:
    found = f"the platforms {', '.join(platforms)} have no device" if platforms else "no driver (platform) is installed"
    return DeviceError(
        f"opencl: {found}.\n"
        f"  fix: install the driver of your GPU, or a driver for CPUs: Debian's package pocl-opencl-icd, or "
        f'pip install "knet[pocl]".'
    )


def no_such_opencl_device(wanted: str, found: Sequence[str]) -> DeviceError:
    listed = ", ".join(f"{i}: {name}" for i, name in enumerate(found))
    return DeviceError(
        f"opencl: KNET_OPENCL_DEVICE={wanted!r} is no number and no part of a name of the devices here: {listed}.\n"
        f"  fix: set it to one of these numbers, or to a part of one of these texts."
    )


def unknown_processor(device: str) -> DeviceError:
    return DeviceError(
        f"{device}: its compiler does not know this processor, which is newer than the driver, and compiles nothing.\n"
        f"  fix: install a newer driver, such as Debian's pocl-opencl-icd; KNET_OPENCL_DEVICE chooses among several."
    )


def unknown_opencl_form(form: str) -> DeviceError:
    return DeviceError(
        f"opencl: KNET_OPENCL_FORM={form!r}: the forms of kernels are loops (of CPUs) and items (of GPUs).\n"
        f"  fix: unset it, so that the device decides."
    )


def unknown_clblast_choice(value: str) -> DeviceError:
    return DeviceError(
        f"opencl: KNET_OPENCL_CLBLAST={value!r}: with 1 CLBlast multiplies matrices, with 0 Knet's own kernels do.\n"
        f"  fix: unset it, so that the device decides."
    )


def missing_clblast() -> DeviceError:
    return DeviceError(
        "opencl: KNET_OPENCL_CLBLAST=1, and there is no CLBlast for OpenCL that is version 1.5.3 or later.\n"
        "  fix: install it (Debian and Ubuntu: apt install libclblast1), or unset the variable."
    )


def device_call_failed(device: str, doing: str, status: str, fix: str | None = None) -> DeviceError:
    return DeviceError(
        f"{device}: {status} while {doing}.\n"
        f"  fix: {fix or 'run python -m knet.backends to see whether the device works at all, and report this if so'}."
    )


def device_compilation(device: str, kernels: str, status: str, notes: str) -> DeviceError:
    error = DeviceError(
        f"{device}: its compiler refuses {kernels}: {status}.\n"
        f"  fix: report this with the notes below, and use KNET_BACKEND=cpu until then."
    )
    error.add_note(notes)
    return error


def forked(device: str) -> DeviceError:
    return DeviceError(
        f"{device}: this process was forked from one that uses the device, which drivers do not survive.\n"
        f'  fix: start processes with multiprocessing.get_context("spawn"), or compute in the parent only.'
    )


def out_of_memory(
    device: str, nbytes: int, used: int, held: int, limit: int | None, largest: int | None, total: int
) -> OutOfMemory:
    if largest is not None and nbytes > largest:
        why = f"the device allocates {largest} bytes at most in one piece"
        fix = "split the array, or use smaller batches"
    elif limit is not None and held + nbytes * 9 // 8 > limit:  # pools round up, by an eighth at most
        why = f"the limit is {limit} bytes"
        fix = "use smaller batches, drop arrays that are not needed, or raise KNET_MEMORY_LIMIT"
    else:
        why, fix = "the driver has no more", "use smaller batches, or drop arrays that are not needed"
    return OutOfMemory(
        f"{device}: no room for {nbytes} bytes: {why}; {used} are in use, {held} are held, the device has {total}.\n"
        f"  fix: {fix}."
    )


def memory_limit(where: str, value: Any) -> ArgumentError:
    return ArgumentError(
        f"{where}={value!r}: a limit is a positive number of bytes, with a unit or without, or a share of the memory.\n"
        f"  fix: write it as 2000000000, 2GiB, 500MB or 80%."
    )


def no_pool(where: str, device: Any) -> DeviceError:
    return DeviceError(
        f"memory.{where}: {device} has no pool of memory: its arrays are NumPy's, and the system has what they free.\n"
        f'  fix: name a device that has one, as in knet.memory.{where}(device="opencl").'
    )


def no_cuda_device(reason: str, fix: str) -> DeviceError:
    return DeviceError(f"cuda: {reason}.\n  fix: {fix}.")


def missing_cuda_library(name: str, reason: str) -> DeviceError:
    return DeviceError(
        f"cuda: {name} cannot be loaded: {reason}.\n"
        f'  fix: pip install "cupy-cuda13x[ctk]" (of CUDA 12: "cupy-cuda12x[ctk]"), or install the CUDA toolkit.'
    )


def no_compiler(reason: str) -> DeviceError:
    return DeviceError(
        f"compiled programs: {reason}.\n"
        f"  fix: install gcc or clang, or set KNET_CC to the C compiler that is to be used."
    )


def compilation(name: str, compiler: str, message: str) -> DeviceError:
    return DeviceError(
        f"{name}: {compiler} cannot compile this program: {message}.\n"
        f"  fix: report this with the notes below, and set KNET_CC to another compiler until then."
    )


def no_workspace(size: int) -> OutOfMemory:
    return OutOfMemory(
        f"compiled program: the system refuses its {size} bytes of workspace.\n"
        f"  fix: work on smaller batches, or free other memory."
    )


def probability(name: str, argument: str, value: Any) -> ArgumentError:
    return ArgumentError(
        f"{name}: {argument}={value!r}: it must be a probability, 0 <= {argument} < 1.\n  fix: pass a number in [0, 1)."
    )


def key_expected(value: Any) -> DTypeError:
    return DTypeError(
        f"random: {describe(value)} given as key: a key is a uint64 array of shape [2].\n"
        f"  fix: make one with knet.random.key(0), and new ones with knet.random.split(key)."
    )


def argument(where: str, name: str, value: Any, rule: str, fix: str) -> ArgumentError:
    return ArgumentError(f"{where}: {name}={value!r}: {rule}.\n  fix: {fix}.")
