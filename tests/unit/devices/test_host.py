"""The host device: outputs, batches, traces and refusals of a natively compiled model."""

import dataclasses
import time

import numpy as np
import pytest

from edgebuild.devices.host import HostDevice
from edgebuild.errors import InputError, ToolError
from edgebuild.resources import resource_dir
from edgebuild.toolchain import find_toolchain
from tests.unit.toy import toy_job, toy_reference


def library(folder, *, profile=True, extra=""):
    job = toy_job(profile=profile, extra=extra, optimize="-O3")
    host = (resource_dir("firmware") / "host" / "eb_host.c").read_text()
    sources = {k: v for k, v in job.sources.items() if k != "main.c"} | {"eb_host.c": host}
    return find_toolchain("zig").compile_shared(dataclasses.replace(job, sources=sources), folder)


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return HostDevice(library(tmp_path_factory.mktemp("host")), "toy")


def inputs(count):
    return np.random.default_rng(1).integers(0, 256, (count, 64), dtype=np.uint8)


def reference(row):
    return toy_reference(row.view(np.int8).tolist())


def test_run(device):
    samples = [(row.tobytes(),) for row in inputs(3)]
    result = device.run(samples)
    assert result.device == "host" and result.instructions is None
    found = [np.frombuffer(o[0], np.int8).tolist() for o in result.outputs]
    assert found == [reference(row) for row in inputs(3)]
    assert 64 < result.arena_bytes.value <= 192


def test_batch_is_split_over_threads_and_fast(device):
    rows = inputs(10_000)
    start = time.monotonic()
    (found,) = device.run_batch([rows])
    assert time.monotonic() - start < 10
    assert found.shape == (10_000, 64)
    for n in (0, 4_999, 5_000, 9_999):
        assert found[n].view(np.int8).tolist() == reference(rows[n])


def test_batch_refuses_wrong_shape_and_type(device):
    with pytest.raises(InputError, match="the model takes 64 bytes"):
        device.run_batch([inputs(2)[:, :10]])
    with pytest.raises(InputError, match="the model takes 64 bytes"):
        device.run_batch([inputs(2).astype(np.int16)])


def test_trace_sees_each_layer(device):
    row = inputs(1)[0]
    first, second = device.trace([row.tobytes()], [[(64, 64)], [(64, 64)]])
    assert np.frombuffer(second[0], np.int8).tolist() == reference(row)
    assert first != second
    # The hook is gone afterwards.
    assert device.run([(row.tobytes(),)]).outputs[0] == second


def test_status_of_the_model(tmp_path):
    device = HostDevice(library(tmp_path, extra="return -7;"), "toy")
    with pytest.raises(ToolError, match="returned -7 on the host"):
        device.run([(bytes(64),)])


def test_unusable_library(tmp_path):
    path = tmp_path / "libmodel.so"
    path.write_bytes(b"not a library")
    with pytest.raises(ToolError, match="the host library cannot be loaded"):
        HostDevice(path, "toy")


def test_library_without_the_model(tmp_path):
    with pytest.raises(ToolError, match="cannot be loaded"):
        HostDevice(library(tmp_path), "other")
