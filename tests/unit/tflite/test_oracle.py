import sys
from importlib import util

import numpy as np
import pytest

from edgebuild.errors import InputError, ModelError, ToolError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.tflite import oracle
from edgebuild.tflite.oracle import run_oracle, run_oracle_arrays, tflm_arena_used_host
from edgebuild.tflite.writer import write_tflite


def model_of(kind, inputs, outputs, attrs=None):
    return write_tflite(one_op("m", kind, inputs, outputs, attrs).graph)


@pytest.fixture(scope="module")
def maximum():
    """The larger of two inputs: exact, and tells the inputs apart from other operators' results."""
    return model_of("MAXIMUM", [activation((1, 4)), activation((1, 4))], [activation((1, 4))])


def test_outputs_and_tensors_of_every_sample(maximum):
    samples = [(bytes([1, 2, 3, 4]), bytes([4, 3, 2, 1])), (bytes(4), bytes([0, 0, 0, 9]))]
    result = run_oracle(maximum, samples, all_tensors=True)
    assert result.outputs == ((bytes([4, 3, 3, 4]),), (bytes([0, 0, 0, 9]),))
    assert result.tensors == ({2: bytes([4, 3, 3, 4])}, {2: bytes([0, 0, 0, 9])})
    assert result.version.startswith("tflite-micro ")
    assert run_oracle(maximum, samples).tensors == ()


def test_many_samples_are_shared_out_in_order(maximum, monkeypatch):
    monkeypatch.setattr(oracle, "_SAMPLES_PER_PROCESS", 10)
    monkeypatch.setattr(oracle.os, "cpu_count", lambda: 3)
    a = np.arange(-64, 64, dtype=np.int8).reshape(32, 1, 4)
    b = np.zeros((32, 1, 4), np.int8)
    (out,) = run_oracle_arrays(maximum, [a, b])
    assert np.array_equal(out, np.maximum(a, 0))


def test_an_arena_that_is_too_small_grows(maximum, monkeypatch):
    monkeypatch.setattr(oracle, "_first_arena", lambda graph: 256)
    assert run_oracle(maximum, [(bytes(4), bytes(4))]).outputs == ((bytes(4),),)


def test_an_arena_that_never_is_enough(maximum, monkeypatch):
    monkeypatch.setattr(oracle, "_first_arena", lambda graph: 256)
    monkeypatch.setattr(oracle, "MAX_ARENA_BYTES", 512)
    with pytest.raises(ModelError, match="needs an arena of more than 512 B"):
        run_oracle(maximum, [(bytes(4), bytes(4))])


def test_arena_used(maximum):
    used = tflm_arena_used_host(maximum)
    assert 12 < used < 4096


def test_no_samples(maximum):
    assert run_oracle(maximum, []).outputs == ()


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((bytes(4),), "sample 0 has 0 bytes for input 1, the model takes 4"),
        ((bytes(3), bytes(4)), "sample 0 has 3 bytes for input 0, the model takes 4"),
    ],
)
def test_a_sample_that_does_not_fit(maximum, sample, message):
    with pytest.raises(InputError, match=message):
        run_oracle(maximum, [sample])


def test_arrays_that_do_not_fit(maximum):
    good, bad = np.zeros((2, 1, 4), np.int8), np.zeros((2, 1, 4), np.float32)
    with pytest.raises(InputError, match=r"oracle input 1 is float32 \[2, 1, 4\], .* takes int8"):
        run_oracle_arrays(maximum, [good, bad])
    with pytest.raises(InputError, match="oracle input 1"):
        run_oracle_arrays(maximum, [good])


def test_an_operator_that_tflite_micro_refuses():
    model = model_of("MAXIMUM", [activation((1, 4), dtype=DType.BOOL)] * 2,
                     [activation((1, 4), dtype=DType.BOOL)])  # fmt: skip
    with pytest.raises(ModelError, match="TFLite Micro cannot run this model") as caught:
        run_oracle(model, [(bytes(4), bytes(4))])
    assert caught.value.details


def test_a_model_that_crashes_the_child(tmp_path, maximum, monkeypatch):
    child_that(monkeypatch, tmp_path, "print('ready', flush=True)\nimport os; os.abort()")
    with pytest.raises(ModelError, match=r"crashed on this model \(SIGABRT\)"):
        run_oracle(maximum, [(bytes(4), bytes(4))])


def test_a_crash_before_the_arena_is_ready_ends(tmp_path, maximum, monkeypatch):
    child_that(monkeypatch, tmp_path, "import os; os.abort()")
    with pytest.raises(ModelError, match="needs an arena of more than") as caught:
        run_oracle(maximum, [(bytes(4), bytes(4))])
    assert "SIGABRT" in caught.value.details


def test_a_model_that_hangs(tmp_path, maximum, monkeypatch):
    child_that(monkeypatch, tmp_path, "import time; time.sleep(60)")
    with pytest.raises(ModelError, match="did not end in 0 s"):
        run_oracle(maximum, [(bytes(4), bytes(4))], timeout=0.4)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('ModuleNotFoundError: flatbuffers')", "cannot be imported"),
        ("import sys; sys.exit('MemoryError')", "not enough memory"),
    ],
)
def test_a_broken_installation(tmp_path, maximum, monkeypatch, code, message):
    child_that(monkeypatch, tmp_path, code)
    with pytest.raises(ToolError, match=message):
        run_oracle(maximum, [(bytes(4), bytes(4))])


def test_tflite_micro_is_absent(maximum, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="tflite-micro is not installed") as caught:
        run_oracle(maximum, [(bytes(4), bytes(4))])
    assert caught.value.hint == "pip install tflite-micro"


def test_python_cannot_be_started(maximum, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ToolError, match="cannot be started"):
        run_oracle(maximum, [(bytes(4), bytes(4))])


def child_that(monkeypatch, tmp_path, code):
    """Put ``code`` in the place of the child's program."""
    (tmp_path / "oracle_child.py").write_text(code)
    monkeypatch.setattr(oracle, "__file__", str(tmp_path / "oracle.py"))


def test_real_models(mlperf_dir):
    rng = np.random.default_rng(0)
    for name, size in (("kws", 490), ("ad01", 640)):
        model = (mlperf_dir / f"{name}_int8.tflite").read_bytes()
        samples = [(rng.integers(-128, 128, size, np.int8).tobytes(),) for _ in range(2)]
        result = run_oracle(model, samples, all_tensors=True)
        assert result.outputs[0] != result.outputs[1]
        assert len(result.tensors[0]) >= 10


def test_a_convolution_by_hand():
    weights = constant(np.full((1, 1, 1, 2), 3), [0.5], axis=0)
    bias = constant([4], [0.5], dtype=DType.INT32)
    model = model_of(
        "CONV_2D",
        [activation((1, 2, 2, 2)), weights, bias],
        [activation((1, 2, 2, 1), scale=0.5)],
        {"padding": "VALID", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1,
         "dilation_h_factor": 1, "fused_activation_function": "NONE"},
    )  # fmt: skip
    (outputs,) = run_oracle(model, [(bytes([1, 2, 3, 4, 5, 6, 7, 8]),)]).outputs
    assert np.frombuffer(outputs[0], np.int8).tolist() == [13, 25, 37, 49]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files")
def test_a_model_may_have_more_outputs_than_a_process_open_files():
    import resource

    q = Quantization((0.1,), (0,))
    tensors = {i: Tensor(i, f"t{i}", (1, 4), DType.INT8, q) for i in range(121)}
    ops = tuple(Op("RELU", (0,), (i,)) for i in range(1, 121))
    model = write_tflite(Graph("fan", (0,), tuple(range(1, 121)), ops, tensors))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        found = run_oracle(model, [[bytes([1, 255, 3, 0])]] * 2, all_tensors=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.outputs == ((bytes([1, 0, 3, 0]),) * 120,) * 2
    assert set(found.tensors[1].values()) == {bytes([1, 0, 3, 0])}
