"""Which devices are found, in which order, which is number 0, and their targets; the drivers are pretended."""

from __future__ import annotations

import pytest
from opencl_here import opencl_runtime
from opencl_kernels import ACCELERATOR, CPU, GPU, cl, device, platform

from knet.backends.opencl.devices import build_options, find_devices, target_of
from knet.core.errors import DeviceError

OLD = platform("Portable Computing Language", "OpenCL 3.0 PoCL 3.0-rc2  Linux, LLVM 14", device("pthread-old", CPU))
NEW = platform("Portable Computing Language", "OpenCL 3.0 PoCL 3.1+debian  Linux, LLVM 15", device("pthread-new", CPU))
MIXED = platform("Maker", "OpenCL 3.0 M", device("Card B", GPU), device("Board", ACCELERATOR), device("Card A", GPU))


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("KNET_OPENCL_DEVICE", raising=False)
    monkeypatch.delenv("KNET_OPENCL_FORM", raising=False)


def names(*platforms):
    return [choice.device.name for choice in find_devices(platforms)]


def test_gpus_come_first_then_accelerators_then_cpus_each_as_the_drivers_list_them():
    assert names(OLD, MIXED, NEW) == ["Card B", "Card A", "Board", "pthread-old", "pthread-new"]


def test_a_driver_without_its_hardware_hides_no_other():
    class Absent(cl.RuntimeError):
        code = -1

    def refuses():
        raise Absent

    broken = platform("Broken", "OpenCL 3.0")
    broken.get_devices = refuses
    assert names(broken, platform("Empty", "OpenCL 1.2"), NEW) == ["pthread-new"]


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        ("0", ["Card B", "Card A", "Board", "pthread-old", "pthread-new"]),
        ("4", ["pthread-new", "Card B", "Card A", "Board", "pthread-old"]),
        ("card a", ["Card A", "Card B", "Board", "pthread-old", "pthread-new"]),
        ("PoCL 3.1", ["pthread-new", "Card B", "Card A", "Board", "pthread-old"]),
        ("LLVM 14", ["pthread-old", "Card B", "Card A", "Board", "pthread-new"]),
        ("portable", ["pthread-old", "Card B", "Card A", "Board", "pthread-new"]),
        (" ", ["Card B", "Card A", "Board", "pthread-old", "pthread-new"]),
    ],
)
def test_the_variable_puts_one_first(wanted, order, monkeypatch):
    monkeypatch.setenv("KNET_OPENCL_DEVICE", wanted)
    assert names(OLD, MIXED, NEW) == order


@pytest.mark.parametrize("wanted", ["5", "-1", "PoCL 4", "Card C"])
def test_what_fits_no_device_is_an_error_that_lists_them(wanted, monkeypatch):
    monkeypatch.setenv("KNET_OPENCL_DEVICE", wanted)
    with pytest.raises(DeviceError) as info:
        names(OLD, MIXED, NEW)
    assert repr(wanted) in str(info.value)
    assert "0: Card B (Maker, OpenCL 3.0 M), 1: Card A" in str(info.value)
    assert "3: pthread-old (Portable Computing Language, OpenCL 3.0 PoCL 3.0-rc2 Linux)" in str(info.value)


def test_no_driver_and_no_device_say_how_to_get_one():
    with pytest.raises(
        DeviceError, match=r"no driver \(platform\) is installed[^ ]*\n  fix: .*pocl-opencl-icd.*knet\[pocl\]"
    ):
        names()
    with pytest.raises(DeviceError, match=r"the platforms Empty \(OpenCL 1.2\) have no device"):
        names(platform("Empty", "OpenCL 1.2"))


def test_targets():
    gpu = target_of(device("Card", GPU, max_work_group_size=1024))
    assert gpu[:7] == ("opencl", False, 256, 8, 49152, 1, True)
    assert target_of(device("Card", GPU, max_work_group_size=200)).items == 128
    assert not target_of(device("Card", GPU, extensions="cl_khr_fp16 cl_khr_fp64_not")).doubles
    cpu = target_of(device("Processor", CPU, max_work_group_size=4096, native_vector_width_float=16))
    assert cpu[:7] == ("opencl", True, 1, 8, 49152, 16, True)


def test_quotients_are_rounded_where_the_device_can():
    exact = device("Card", GPU, single_fp_config=cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT | 7)
    assert "-cl-fp32-correctly-rounded-divide-sqrt" in build_options(exact)
    assert build_options(device("Card", GPU, single_fp_config=7)) == ["-cl-std=CL1.2", "-w"]


def test_the_form_of_kernels_can_be_asked_for(monkeypatch):
    cpu = device("Processor", CPU, max_work_group_size=4096, native_vector_width_float=16)
    monkeypatch.setenv("KNET_OPENCL_FORM", "items")
    assert target_of(cpu)[:7] == ("opencl", False, 64, 8, 49152, 1, True)
    monkeypatch.setenv("KNET_OPENCL_FORM", "loops")
    assert target_of(device("Card", GPU))[:7] == ("opencl", True, 1, 8, 49152, 1, True)
    monkeypatch.setenv("KNET_OPENCL_FORM", "lanes")
    with pytest.raises(DeviceError, match="KNET_OPENCL_FORM='lanes'"):
        target_of(cpu)


def test_the_device_here():
    target = opencl_runtime().target
    assert target.dialect == "opencl" and target.units >= 1 and target.local_bytes >= 16384
    assert (target.items == 1) == target.loops
