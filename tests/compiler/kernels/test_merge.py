"""What is put into one kernel, and what a device has no room for."""

from __future__ import annotations

import numpy as np
import printed
import pytest
import standin

import knet.numpy as knp
from knet.compiler.kernels.kernel import LAYERS, LOCAL, Launch, Writer, local_bytes, placed
from knet.compiler.kernels.merge import merge
from knet.compiler.kernels.target import Target
from knet.compiler.layout import Buffer, Ref

TARGET = Target("cuda", loops=False, items=256, units=132, local_bytes=48 << 10)


def launch(number: int, local: int, groups=(4, 1, 1), target=TARGET) -> Launch:
    """A launch that needs nothing of others and ``local`` floats of local memory."""
    w = Writer(f"part{number}", target, literal=True)
    ref = Ref(Buffer("work", number, 4096, np.dtype("float32")), (1024,))
    body = f"    LOCAL float tile[{local}];\n    {w.array(ref, write=True)}[GROUP(0)] = tile[GROUP(0)];\n"
    return w.launch(body, groups)


def test_parts_share_a_kernel_while_their_local_memory_fits():
    assert len(merge([launch(i, 6000) for i in range(2)], TARGET)) == 1, "48,000 of 49,152 bytes"
    merged = merge([launch(i, 6000) for i in range(5)], TARGET)
    assert len(merged) == 3 and all(local_bytes(one.body) <= TARGET.local_bytes for one in merged)


def test_what_follows_in_the_same_group_needs_its_own_local_memory():
    first, second = launch(0, 10_000, (1, 1, 1)), launch(0, 10_000, (1, 1, 1))
    assert len(merge([first, second], TARGET)) == 2
    assert len(merge([first, second], TARGET._replace(local_bytes=96 << 10))) == 1


def test_groups_of_a_merged_kernel_stay_countable():
    most = launch(0, 1, (2**31 - 5, 1, 1)), launch(1, 1, (4, 1, 1)), launch(2, 1, (1, 1, 1))
    assert [one.groups[0] for one in merge(most, TARGET)] == [2**31 - 1, 1]


def test_more_local_memory_than_there_is_is_an_error_of_the_generator():
    with pytest.raises(ValueError, match="part0: 49156 bytes of local memory, and a group has 49152"):
        launch(0, 12_289)


@pytest.mark.parametrize(
    "declared, want",
    [
        ("LOCAL float tile[8];", 32), ("LOCAL double a[2][3];", 48), ("LOCAL knet_16 t[16][17];", 4352),
        ("LOCAL uint16_t h[5];", 10), ("LOCAL INDEX places[4];", 32), ("LOCAL int8_t b[3];", 3), ("LOCAL int n;", 4),
    ],
)  # fmt: skip
def test_bytes_of_a_declaration(declared, want):
    assert local_bytes(f"    {declared}\n    x = tile[0];\n") == want


def test_all_declarations_are_read():
    """Each mention of local memory in the kernels of the operations that use it."""
    names = [
        "matmul",
        "conv",
        "conv_weight_grad",
        "cumulative_sum",
        "argsort",
        "permute",
        "put_add",
        "segment_extremum",
    ]
    bodies = [kernel.source for kernel in printed.catalogue_kernels(names)]
    assert sum(body.count("LOCAL ") for body in bodies) > 20
    for body in bodies:
        assert len(LOCAL.findall(body)) == body.count("LOCAL ")
        assert local_bytes(body) <= printed.CUDA.local_bytes


# --- groups along dimensions 1 and 2 ---------------------------------------------------------------------------------


def test_too_many_layers_are_counted_along_dimension_0():
    many = launch(0, 1, (3, LAYERS + 1, 2))
    assert many.groups == (3 * (LAYERS + 1) * 2, 1, 1)
    few = launch(0, 1, (3, LAYERS, 2))
    assert few.groups == (3, LAYERS, 2)
    opencl = launch(0, 1, (3, LAYERS + 1, 2), TARGET._replace(dialect="opencl"))
    assert opencl.groups == (3, LAYERS + 1, 2), "OpenCL has no such bound"


@pytest.mark.parametrize("groups", [(3, 4, 5), (7, 1, 1), (1, 6, 1)])
def test_groups_counted_along_dimension_0_are_the_same_groups(groups):
    w = Writer("where", standin.ITEMS, literal=True)
    lowering = standin.Lowering(standin.ITEMS, literal=True)
    ref = lowering.put(np.zeros(groups[::-1], np.int32))
    y = w.array(ref, write=True)
    at = "(GROUP(2) * GROUPS(1) + GROUP(1)) * GROUPS(0) + GROUP(0)"
    body = f"    if (ITEM(0) == 0) {y}[{at}] = GROUP(0) + 10 * GROUP(1) + 100 * GROUP(2) + 1000 * GROUPS(2);\n"
    lowering.launch(w.launch(placed(body, groups), (int(np.prod(groups)), 1, 1)))
    z, y, x = np.indices(groups[::-1])
    np.testing.assert_array_equal(lowering.get(ref), x + 10 * y + 100 * z + 1000 * groups[2])


def test_a_program_for_a_device_of_little_memory_has_more_kernels():
    xs = [knp.ones((128, 128)) for _ in range(6)]

    def launched(local_bytes):
        recorder = printed.Recorder(TARGET._replace(local_bytes=local_bytes))
        return len(printed.graph(lambda xs: [x @ x for x in xs], [xs], recorder).kernels)

    assert launched(48 << 10) == 1 < launched(8 << 10) <= 6
