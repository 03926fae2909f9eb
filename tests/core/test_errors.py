"""Every message of knet/core/errors.py, produced by what a user would write.

A row is (function of errors.py, what raises, type, text). The message must come from that very function, name the
place, and say how to repair it. A function without a row fails ``test_every_message_is_produced_by_a_test``.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest
from opencl_here import opencl_runtime

import knet
import knet.numpy as knp
from knet import nn
from knet.backends.cpu.compiled import team, toolchain
from knet.compiler.device.memory import parse_limit
from knet.compiler.kernels.kernel import Kernel
from knet.compiler.kernels.lower import lower
from knet.compiler.kernels.target import Target
from knet.core import errors, primitive, registry
from knet.core.errors import (
    DeviceError,
    DTypeError,
    IndexOutOfBounds,
    MissingKernel,
    NotDifferentiable,
    ShapeError,
    TracerError,
    TreeError,
)

X, W = knp.ones((32, 784)), knp.ones((512, 784))
V = knp.asarray([1.0, 2.0, 3.0])
HERE = knet.default_device()


def leak():
    box = []
    knet.grad(lambda x: box.append(x) or x * 2)(1.0)
    return box[0] + 1


def custom(name, rule):
    """A primitive of one operand with this derivative, out of the registry again."""
    made = primitive(name, aval=lambda x: x, vjp=(rule,), batch="it never batches")(lambda x: x + 0)
    del registry[name]
    return made


def assign(x, index):
    x[index] = 1.0


def without_compiler():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNET_CC", "/absent/cc")
        toolchain.build("int one(void) { return 1; }")


def opencl(part):
    """A module of the OpenCL backend."""
    pytest.importorskip("pyopencl", reason="PyOpenCL, of the extra opencl, is not installed")
    return importlib.import_module(f"knet.backends.opencl.{part}")


def without_opencl_driver():
    opencl("devices").find_devices([])


def of_no_opencl_device():
    card = SimpleNamespace(name="Card", type=4)
    driver = SimpleNamespace(name="Maker", version="OpenCL 3.0", get_devices=lambda: [card])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNET_OPENCL_DEVICE", "PoCL 4")
        opencl("devices").find_devices([driver])


def in_no_form():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNET_OPENCL_FORM", "lanes")
        opencl("devices").target_of(None)


def with_clblast(asked):
    clblast = opencl("clblast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNET_OPENCL_CLBLAST", asked)
        patch.setattr(clblast, "library", lambda: None)
        clblast.wanted(None)


def failing_download():
    opencl("runtime")
    runtime = opencl_runtime()
    runtime.download(runtime.allocate(4), 1 << 30, 64)


def not_opencl():
    opencl("runtime")
    opencl_runtime().functions([Kernel("pond", "KERNEL(1, 1, 1) pond(void) { water; }\n", (), (1, 1, 1), ())])


def without_doubles():
    target = Target("opencl", loops=False, items=64, units=4, local_bytes=1 << 15, doubles=False)
    with knet.use_backend("cpu"):
        x = knp.ones((3,), dtype=knp.float64)
        graph = knet.trace(lambda x: x * x)(x)
    assert lower(knet.trace(lambda x: x.astype(knp.float32) * 2)(x), target, True).items  # an argument may be one
    lower(graph, target, literal=True)


def not_compiled():
    with knet.use_backend("cpu"):
        knet.jit(lambda x: x + 1).profile(knp.zeros((0, 2)))


def on_a_new_processor():
    programs = opencl("programs")

    class Program:
        def __init__(self, _context, _source):
            pass

        def build(self, options):
            raise programs.cl.RuntimeError("error: unknown target CPU 'generic'\nDevice pthread failed to build")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs.cl, "Program", Program)
        programs.build(None, [], "pthread", "", [])


def without_nvidia_driver():
    pytest.importorskip("cupy", reason='needs CuPy: pip install "knet[cuda13]"')
    from knet.backends.cuda import devices

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices.api, "driverGetVersion", lambda: 0)
        devices.count_devices()


def without_cublas():
    pytest.importorskip("cupy", reason='needs CuPy: pip install "knet[cuda13]"')
    from knet.backends.cuda import cublas

    def absent(name):
        raise cublas.pathfinder.DynamicLibNotFoundError("no libcublas.so.13\nin these folders: ...")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cublas.pathfinder, "load_nvidia_dynamic_lib", absent)
        cublas.library.__wrapped__()


def forked():
    runtime = opencl("runtime")
    copy = object.__new__(runtime._Forked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runtime._name_of, id(copy), "Card")
        copy.allocate(4)


def beyond_the_device():
    opencl("runtime")
    opencl_runtime().allocate(1 << 60)


def not_c():
    if toolchain.available() is not None:
        raise errors.compilation("pond", "/usr/bin/cc", "there is no compiler")
    toolchain.build("int one(void) { return ducks; }", "pond")


def too_large():
    if toolchain.available() is not None:
        raise errors.no_workspace(2**60)
    library = toolchain.build(team.HEADER + "void idle(struct knet_team *team, int thread, void **buffers) {}")
    team.Program(library, "idle", threads=1, workspace=2**60)([])


def undefined(fun):
    return fun(lambda x: x)


def with_rule(fwd, bwd):
    f = knet.custom_vjp(lambda x: x)
    f.defvjp(fwd, bwd)
    return lambda: knet.grad(f)(1.0)


def with_tangent(rule):
    f = knet.custom_jvp(lambda x: x)
    f.defjvp(rule)
    return lambda: knet.jvp(f, (1.0,), (1.0,))


def keyword_only():
    @knet.custom_vjp
    def scaled(x, *, factor):
        return x * factor

    scaled.defvjp(lambda x: (x, None), lambda _, g: (g,))
    return scaled(1.0, factor=2.0)


def debugged():
    with knet.core.debug_nans():
        return knp.log(-V)


def donated():
    x = knp.ones(3)
    knet.jit(square, donate_argnums=0)(x)
    return x + 1


def jitted_on_two_devices():
    return knet.jit(knp.add)(V, knp.asarray([1.0, 2.0, 3.0], device="pretended"))


def on_two_devices():
    return V + knp.asarray([1.0, 2.0, 3.0], device="pretended")


def without_kernel():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNET_FALLBACK", "error")
        return knp.sin(knp.asarray([1.0, 2.0], device="pretended"))


def square(x):
    return x * x


ROWS = [
    # shapes
    ("broadcast", lambda: knp.ones((2, 3)) + knp.ones(2), ShapeError,
     "add(x, y): x is float32 [2, 3], y is float32 [2]"),
    ("matmul", lambda: X @ W, ShapeError,
     "x's last axis (784) must equal w's second-to-last axis (512).\n  fix: matmul(x, w.mT)"),
    ("matmul", lambda: X.T @ X.T, ShapeError, "[784, 32] and w [784, 32] do not fit: x's last axis (32) must"),
    ("matmul", lambda: V @ knp.ones(2), ShapeError, "must equal w's only axis (2)"),
    ("matmul", lambda: V @ 2.0, ShapeError, "fix: use x * w for scalars"),
    ("matmul", lambda: knp.ones((2, 1, 3)) @ knp.ones((3, 3, 1)), ShapeError,
     "the batch axes of x [2, 1, 3] and w [3, 3, 1]"),
    ("reshape", lambda: V.reshape(2, 2), ShapeError, "x [3] cannot take shape [2, 2]"),
    ("reshape", lambda: V.reshape(-1, -1), ShapeError,
     "at most one size may be -1.\n  fix: choose sizes whose product is 3"),
    ("axis_out_of_range", lambda: X.sum(2), ShapeError,
     "sum(x, axis): axis 2 for x with 2 axes: an axis must lie in [-2, 1]"),
    ("axis_out_of_range", lambda: knp.asarray(1.0).sum(0), ShapeError, "does not exist: x is a scalar"),
    ("repeated_axis", lambda: X.sum((0, -2)), ShapeError, "names an axis twice"),
    ("empty_reduction", lambda: knp.zeros((0, 3)).max(0), ShapeError,
     "max of no elements is undefined.\n  fix: check x.size"),
    ("permutation", lambda: knp.permute_dims(X, (0, 0)), ShapeError, "axes must be a permutation of 0..1"),
    ("broadcast_to", lambda: knp.broadcast_to(V, (2, 2)), ShapeError, "x [3] does not broadcast to [2, 2]"),
    ("squeeze", lambda: X.squeeze(0), ShapeError, "axis 0 of x [32, 784] has size 32"),
    ("concatenate", lambda: knp.concatenate([X, V[None]]), ShapeError,
     "shapes [[32, 784], [1, 3]]: all must be equal except"),
    ("no_arrays", lambda: knp.concatenate([]), ShapeError, "concatenate(arrays): an empty list"),
    ("einsum", lambda: knp.einsum("ij,jk", X, W), ShapeError,
     "einsum('ij,jk->ik', ...): axis 'j' has sizes 784 and 512"),
    ("conv", lambda: nn.conv(knp.ones((1, 3, 8, 8)), knp.ones((4, 2, 3, 3))), ShapeError, "x has C = 3 channels"),
    ("window", lambda: nn.max_pool(knp.ones((1, 1, 2, 2)), 3), ShapeError, "window [3, 3] does not fit"),
    ("shape_argument", lambda: knp.zeros((2, -1)), ShapeError, "zeros: shape=(2, -1): sizes must not be negative"),
    ("too_many_indices", lambda: V[0, 0], IndexOutOfBounds, "2 indices for x [3], which has 1 axes"),
    ("index_out_of_bounds", lambda: V[3], IndexOutOfBounds,
     "index 3 on axis 0 of size 3: an index must lie in [-3, 2]"),
    ("empty_axis", lambda: knp.take(V[:0], [0], mode="clip"), IndexOutOfBounds,
     "take: mode='clip' on axis 0 of size 0: there is no element that an index could be led to"),
    ("bad_index", lambda: V[1.5], DTypeError, "an index is an integer, a slice, None, ..., or an array"),
    ("mask_shape", lambda: V[np.ones(4, bool)], IndexOutOfBounds, "mask [4] on x [3] from axis 0"),
    ("update_shape", lambda: V.at[:2].set(V), ShapeError, "value [3] does not broadcast to the selected [2]"),
    # data types
    ("unsupported_dtype", lambda: V & V, DTypeError,
     "bitwise_and(x, y): x is float32 [3], y is float32 [3]: bitwise_and accepts "),
    ("scalar_overflow", lambda: knp.ones(2, dtype="int8") + 1000, ValueError, "scalar 1000: it does not fit into int8"),
    ("no_promotion", lambda: knp.ones(1, dtype="uint64") + knp.arange(1), DTypeError, "promotion: uint64 with int64"),
    ("not_an_array", lambda: knp.sin("text"), DTypeError, "sin: str 'text': an array, a number"),
    ("ragged", lambda: knp.asarray([[1, 2], [3]]), ShapeError, "asarray: [[1, 2], [3]]: "),
    # differentiation
    ("integer_argument", lambda: knet.grad(square)(3), DTypeError,
     "argument 0 is int64: derivatives are defined for floating-point"),
    ("leaf_not_array", lambda: knet.grad(square)({"a": "b"}), TreeError, "grad: argument 0['a'] is str 'b'"),
    ("argnums", lambda: knet.grad(square, 1)(1.0), ValueError,
     "argnums=1 but the function was called with 1 positional argument:"),
    ("non_scalar_loss", lambda: knet.grad(square)(V), ShapeError,
     "grad(square): the function returned float32 [3]: grad needs a"),
    ("non_scalar_loss", lambda: knet.grad(square)(V[:1]), ShapeError, "fix: return loss.reshape(()), or loss.sum()"),
    ("non_array_loss", lambda: knet.grad(lambda x: (x, 1))(1.0), TreeError,
     "returned a tuple: grad needs one scalar array.\n  fix: ret"),
    ("non_array_loss", lambda: knet.grad(lambda x: None)(1.0), TreeError, "returned a NoneType"),
    ("aux_pair", lambda: knet.grad(square, has_aux=True)(1.0), TreeError, "must return a pair (loss, aux)"),
    ("integer_loss", lambda: knet.grad(knp.argmax)(V), DTypeError, "returned int64 []: a loss must be floating-point"),
    ("no_rule", lambda: knet.grad(custom("stone", "stones do not roll"))(1.0), NotDifferentiable,
     "stone: no derivative with respect to x: stones do not roll.\n  fix: wrap the argument in knet.stop_gradient"),
    ("wrong_cotangent", lambda: knet.vjp(custom("crooked", lambda g, _y, _x: g.sum()), V)[1](V), ShapeError,
     "crooked: the derivative with respect to x returned float32 [] for an input of float32 [3]"),
    ("cotangent_mismatch", lambda: knet.vjp(square, V)[1](X), ShapeError,
     "is float32 [32, 784], the output there is float32 [3]"),
    ("leaked_tracer", leak, TracerError, "was used after its transformation had ended"),
    ("tracer_to_host", lambda: knet.grad(lambda x: np.asarray(x).sum())(V), TracerError,
     "numpy.asarray: x, float32 [3], is a traced"),
    ("traced_move", lambda: knet.grad(lambda x: x.to_device("pretended").sum())(V), TracerError,
     "to_device(x, 'pretended:0'): x is a traced value"),
    ("ufunc_refused", lambda: np.sin(V), TracerError, "numpy.sin: a Knet array was passed to a NumPy function"),
    ("ufunc_refused", lambda: np.spacing(V), TracerError, "fix: use functions of knet.numpy, or convert"),
    ("abstract_to_host", lambda: knet.core.eval_shape(lambda x: x if x.sum() > 0 else -x, V), TracerError,
     "only shapes are being computed"),
    ("tangent_mismatch", lambda: knet.jvp(square, (V,), (X,)), ShapeError,
     "is float32 [32, 784], the primal there is float32 [3]"),
    ("not_linear", lambda: knet.linear_transpose(lambda x: x + 1, V), NotDifferentiable, "the function is not linear"),

        ("reverse_through_while", lambda: knet.grad(lambda x: knet.while_loop(lambda c: c < 9, square, x))(2.0),
     NotDifferentiable,
     "while_loop(square): reverse mode through a loop"),
    ("rule_missing", lambda: undefined(knet.custom_vjp)(1.0), TreeError, "call <lambda>.defvjp(fwd, bwd) first"),
    ("rule_missing", lambda: undefined(knet.custom_jvp)(1.0), TreeError, "call <lambda>.defjvp(rule) first"),
    ("api_version", lambda: V.__array_namespace__(api_version="1999.01"), errors.ArgumentError,
     "api_version='1999.01': Knet follows"),
    ("complex_to_real", lambda: knp.astype(knp.asarray(1j), "float32"), DTypeError,
     "a complex number has no single real value.\n  fix: name the part"),
    ("unsupported_limits", lambda: knp.finfo("int8"), DTypeError, "finfo(dtype): int8"),
    ("matrix", lambda: knp.linalg.inv(V), ShapeError, "inv(x): x [3]: a matrix [..., M, N] has two axes or more"),
    ("matrix", lambda: knp.linalg.det(X), ShapeError, "x [32, 784]: the last two axes must be equal"),
    ("right_side", lambda: knp.linalg.solve(knp.eye(2), X), ShapeError, "a [2, 2] and b [32, 784] do not fit"),
    ("singular", lambda: knp.linalg.inv(knp.zeros((2, 2))), errors.LinAlgError, "has a singular matrix"),
    ("not_positive_definite", lambda: knp.linalg.cholesky(-knp.eye(2)), errors.LinAlgError, "not positive definite"),
    ("not_converged", lambda: knp.linalg.svd(knp.full((2, 2), knp.nan)), errors.LinAlgError, "did not converge"),
    ("keyword_only", keyword_only, TreeError, "scaled: factor can be passed by keyword only"),
    ("fwd_pair", with_rule(lambda x: x, lambda r, g: (g,)), TreeError, "fwd returned"),
    ("jvp_pair", with_tangent(lambda p, t: p[0]), TreeError, "it must return a pair (result, tangent)"),
    ("bwd_structure", with_rule(lambda x: (x, None), lambda r, g: g), TreeError, "bwd returned"),
    ("bwd_structure", with_rule(lambda x: (x, None), lambda r, g: (g, g)), TreeError, "bwd returned a tuple of 2"),
    # batching
    ("no_batching", lambda: knet.vmap(custom("lone", lambda g, _y, _x: g))(V), NotDifferentiable,
     "lone does not batch: it never"),
    ("batched_to_host", lambda: knet.vmap(lambda x: x if x > 0 else -x)(V), TracerError, "for 3 examples at once"),
    ("in_axes_count", lambda: knet.vmap(square, in_axes=(0, 0))(V), TreeError,
     "in_axes=(0, 0) has 2 entries for 1 positional"),
    ("in_axes_range", lambda: knet.vmap(square, in_axes=1)(V), ShapeError,
     "argument 0 is float32 [3], which has no axis 1"),
    ("nothing_batched", lambda: knet.vmap(square, in_axes=None)(V), ShapeError, "no argument has a batch axis"),
    ("batch_sizes", lambda: knet.vmap(knp.add)(V, V[:2]), ShapeError, "argument 0 has 3, argument 1 has 2"),
    ("out_axes_none", lambda: knet.vmap(square, out_axes=None)(V), ShapeError, "out_axes=None for a result"),
    ("out_axes_range", lambda: knet.vmap(square, out_axes=3)(V), ShapeError, "out_axes=3 for a batched result"),
    # control flow
    ("not_a_predicate", lambda: knet.cond(V > 0, square, square, V), DTypeError, "cond: the condition is bool [3]"),
    ("branch_mismatch", lambda: knet.vmap(lambda p: knet.cond(p > 1, lambda: 1.0, lambda: (1.0,)))(V), TreeError,
     "branches' results"),
    ("carry_mismatch", lambda: knet.fori_loop(0, 2, lambda i, c: c[None], V), TreeError,
     "the carry is float32[3] before a step and"),
    ("scan_lengths", lambda: knet.scan(lambda c, x: (c, x), 0.0, (V, X)), ShapeError,
     "scan: the leading axes differ in size"),
    ("scan_needs_length", lambda: knet.scan(lambda c, x: (c, x), 0.0), ShapeError, "the number of steps is unknown"),
    # jit
    ("staged_to_host", lambda: knet.jit(lambda x: 1.0 if x > 0 else 0.0)(2.0), TracerError,
     "test_errors.py:"),
    ("staged_to_host", lambda: knet.jit(lambda p: float(p["w"]))({"w": V[0]}), TracerError,
     "argument 0['w'], float32 [], has no value while jit(<lambda>) is traced"),
    ("not_compiled", not_compiled, knet.errors.DeviceError, "profile: jit(<lambda>) is not compiled for cpu:0"),
    ("jit_leaf", lambda: knet.jit(lambda x, mode: x)(V, "train"), TreeError,
     "jit(<lambda>): argument 1 is of type str, 'train': arguments must be pytrees of arrays"),
    ("jit_result", lambda: knet.jit(lambda x: {"name": "a"})(V), TreeError,
     "jit(<lambda>): the result['name'] is of type str, 'a'"),
    ("static_unhashable", lambda: knet.jit(knp.sum, static_argnums=1)(X, [0, 1]), DTypeError,
     "static argument 1 is of type list, which has no hash"),
    ("donated", donated, ValueError, "argument 0 of square: the array was donated to a jitted function"),
    ("donated_twice", lambda: knet.jit(knp.add, donate_argnums=0)(V, V), ValueError,
     "jit(add): argument 0 is donated and is passed a second time in the same call"),
    ("arguments_on_devices", jitted_on_two_devices, DeviceError,
     f"jit(add): one argument is on {HERE}, another on pretended:0"),
    ("non_finite", debugged, FloatingPointError, "log"),
    # arrays as Python objects
    ("ambiguous_truth", lambda: bool(V), ShapeError, "bool(x): x [3] has 3 elements: the truth of an array"),
    ("not_scalar", lambda: float(V), ShapeError, "float(x): x [3]: only an array of one element"),
    ("not_scalar", lambda: f"{V:.2f}", ShapeError, "format(x): x [3]"),
    ("zero_dim_iteration", lambda: list(knp.asarray(1.0)), TypeError, "iter(x): a 0-d array has no axis"),
    ("zero_dim_iteration", lambda: len(knp.asarray(1.0)), TypeError, "len(x): a 0-d array"),
    ("immutable", lambda: assign(V, 0), TypeError,
     "x[0] = value: Knet arrays are immutable.\n  fix: x = x.at[0].set(value)."),
    ("immutable", lambda: assign(X, (slice(1, None), ..., slice(None, None, 2))), TypeError,
     "x = x.at[1:, ..., ::2].set(value)"),
    ("immutable", lambda: assign(V, V > 0), TypeError, "x = x.at[index].set(value)"),
    ("unhashable", lambda: {V: 1}, TypeError, "arrays compare by value and elementwise"),
    ("not_constructible", lambda: knet.Array([1.0]), TypeError, "fix: knet.numpy.asarray(data)"),
    # trees, devices
    ("tree_mismatch", lambda: knet.tree.map(knp.add, {"a": 1.0, "b": 2.0}, {"a": 1.0}), TreeError, "missing ['b']"),
    ("unknown_backend", lambda: knet.set_backend("opncl"), DeviceError,
     "unknown; the backends are 'cpu', 'cuda', 'opencl'"),
    ("backend_unavailable", lambda: knet.set_backend("absent"), DeviceError,
     "backend 'absent': cannot be loaded: No module named"),
    ("unknown_device", lambda: knet.set_backend("cpu:7"), DeviceError,
     "device 'cpu:7': this backend has 1 device, numbered from 0"),
    ("mixed_devices", on_two_devices, DeviceError,
     f"add(x, y): x is on {HERE}, y is on pretended:0: all operands must be on one"),
    ("no_float64", without_doubles, DTypeError, "multiply: the device does not compute with float64"),
    ("missing_kernel", without_kernel, MissingKernel, "sin: the pretended backend has no kernel for it"),
    ("no_compiler", without_compiler, DeviceError,
     "compiled programs: there is no program KNET_CC=/absent/cc"),
    ("compilation", not_c, DeviceError, "pond: /"),
    ("no_workspace", too_large, errors.OutOfMemory, "the system refuses its 1152921504606846976 bytes of workspace"),
    ("no_opencl_device", without_opencl_driver, DeviceError,
     "opencl: no driver (platform) is installed.\n  fix: install the driver of your GPU"),
    ("no_such_opencl_device", of_no_opencl_device, DeviceError, "devices here: 0: Card (Maker, OpenCL 3.0).\n  fix: "),
    ("unknown_opencl_form", in_no_form, DeviceError, "KNET_OPENCL_FORM='lanes': the forms of kernels are"),
    ("unknown_clblast_choice", lambda: with_clblast("yes"), DeviceError, "KNET_OPENCL_CLBLAST='yes': with 1 CLBlast"),
    ("missing_clblast", lambda: with_clblast("1"), DeviceError, "there is no CLBlast for OpenCL that is version 1.5.3"),
    ("device_call_failed", failing_download, DeviceError, "INVALID_VALUE while copying 64 bytes from it.\n  fix: run"),
    ("device_compilation", not_opencl, DeviceError, "its compiler refuses pond: BUILD_PROGRAM_FAILURE.\n  fix: report"),
    ("unknown_processor", on_a_new_processor, DeviceError, "OpenCL device pthread: its compiler does not know this"),
    ("forked", forked, DeviceError, "OpenCL device Card: this process was forked from one that uses the device"),
    ("out_of_memory", beyond_the_device, errors.OutOfMemory, "no room for 1152921504606846976 bytes: the device alloc"),
    ("memory_limit", lambda: parse_limit("KNET_MEMORY_LIMIT", "much", 100), ValueError,
     "KNET_MEMORY_LIMIT='much': a limit is a positive number of bytes"),
    ("no_cuda_device", without_nvidia_driver, DeviceError,
     "cuda: no NVIDIA driver is installed.\n  fix: install the driver"),
    ("missing_cuda_library", without_cublas, DeviceError,
     "cuda: cuBLAS cannot be loaded: no libcublas.so.13.\n  fix: pip install"),
    ("no_pool", lambda: knet.memory.used("cpu"), DeviceError, "memory.used: cpu:0 has no pool of memory"),
    # numbers
    ("probability", lambda: nn.dropout(knet.random.key(0), V, 1.5), ValueError,
     "dropout: rate=1.5: it must be a probability"),
    ("key_expected", lambda: knet.random.normal(V, (2,)), DTypeError,
     "random: float32 [3] given as key: a key is a uint64 array"),
    ("argument", lambda: knp.arange(0, 5, 0), ValueError, "arange: step=0: a step must not be 0.\n  fix: give"),
]  # fmt: skip

HELPERS = {"describe"}


def messages():
    """Names of the functions of errors.py that make an exception."""
    return {
        name
        for name, f in inspect.getmembers(errors, inspect.isfunction)
        if f.__module__ == errors.__name__ and not name.startswith("_") and name not in HELPERS
    }


def ids():
    counts: dict[str, int] = {}
    for name, *_ in ROWS:
        counts[name] = counts.get(name, 0) + 1
        yield name if counts[name] == 1 else f"{name}-{counts[name]}"


@pytest.mark.parametrize(("name", "raises", "error", "text"), ROWS, ids=list(ids()))
def test_message(name, raises, error, text, monkeypatch, pretended):
    made = []
    original = getattr(errors, name)

    def recorded(*args, **kwargs):
        made.append(original(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(errors, name, recorded)
    with np.errstate(all="ignore"), pytest.raises(error) as info:
        raises()
    assert any(info.value is e for e in made), f"the error came from elsewhere: {info.value!r}"
    assert isinstance(info.value, errors.KnetError)
    message = str(info.value)
    assert text in message, message
    assert_readable(message, info.value)


def assert_readable(message, error):
    """Where and what, a rule, then one line of repair; nothing empty, doubled or unfinished."""
    assert error.args == (message,), "the message is not one text"
    what, _, fix = message.partition("\n  fix: ")
    assert what and fix, f"no fix in: {message}"
    assert ": " in what, f"no place in: {message}"
    assert what.endswith((".", ")")) and fix.endswith((".", ")")), f"an unfinished sentence: {message}"
    assert message.count("\n") == 1, f"not two lines: {message}"
    assert not re.search(r"\w  |[^.]\.\.(?![.\d])| ,|: :|\(\)\(|\bNone axes", message), (
        f"something is missing in: {message}"
    )


def test_every_message_is_produced_by_a_test():
    assert {name for name, *_ in ROWS} == messages(), "one row for each function of errors.py"


def test_every_error_is_what_python_programmers_catch():
    assert (
        issubclass(ShapeError, ValueError) and issubclass(DTypeError, TypeError) and issubclass(TreeError, ValueError)
    )
    assert issubclass(DeviceError, RuntimeError) and issubclass(NotDifferentiable, TypeError)
    assert issubclass(MissingKernel, NotImplementedError) and issubclass(TracerError, TypeError)
    assert issubclass(IndexOutOfBounds, IndexError) and issubclass(errors.OutOfMemory, MemoryError)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.KnetError)
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.KnetError):
            assert kind.__doc__, f"{name} has no docstring"


def test_errors_can_be_copied():
    with pytest.raises(ShapeError) as info:
        V + knp.ones(2)
    assert str(copy.copy(info.value)) == str(info.value)


def test_a_long_value_is_cut_short():
    with pytest.raises(DTypeError) as info:
        knp.sin("x" * 10_000)
    assert len(str(info.value)) < 300


def test_suggestions_fit_the_mistake():
    # What the message proposes must work.
    with pytest.raises(ShapeError, match=r"fix: matmul\(x, w\.mT\)"):
        X @ W
    assert (X @ W.mT).shape == (32, 512)
    with pytest.raises(ShapeError, match=r"fix: matmul\(x\.mT, w\)"):
        knp.ones((3, 2)) @ knp.ones((3, 5))
    assert (knp.ones((3, 2)).mT @ knp.ones((3, 5))).shape == (2, 5)
    with pytest.raises(ShapeError, match=r"fix: give w 3 rows"):
        knp.ones((2, 3)) @ knp.ones((4, 5))
