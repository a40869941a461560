"""``<name>_preprocess``: what the C does to values is what NumPy does to them."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from edgebuild.backends.emit import emit_library
from edgebuild.backends.native import compile_for_host
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.models.data import quantize_input
from edgebuild.models.preprocessing import Preprocessing, Step
from edgebuild.targets import CpuFeatures

Q = Quantization((0.037,), (-11,))


def graph(inputs: int = 1) -> Graph:
    tensors = {i: Tensor(i, f"x{i}", (1, 2, 3), DType.INT8, Q) for i in range(2 * inputs)}
    ops = tuple(Op("RELU", (i,), (inputs + i,)) for i in range(inputs))
    ends = tuple(range(inputs)), tuple(range(inputs, 2 * inputs))
    return Graph("net", *ends, ops, tensors)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


BY_CHANNEL = (
    Step("sub", numbers(1000, 0.5, -3)),
    Step("mul", numbers(0.01, 4, 0.7)),
    Step("div", numbers(1.3)),
    Step("add", numbers(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
)


def test_the_header_says_what_to_call():
    header = emit_library(graph(), "net", CpuFeatures(), Preprocessing({0: BY_CHANNEL[:2]})).files[
        "lib/net.h"
    ]
    assert "void net_preprocess(const float *values, int8_t *input);" in header
    assert "Input 0 holds prepared values: call net_preprocess()" in header
    assert "The model's own scaling of its input was taken out" in header
    assert "value - one of 3 numbers * one of 3 numbers, in float32" in header


def test_without_preprocessing_nothing_is_added():
    files = emit_library(graph(), "net", CpuFeatures()).files
    assert not any("preprocess" in path + text for path, text in files.items())


@pytest.mark.parametrize("inputs", [1, 2])
def test_the_c_computes_what_numpy_computes(tmp_path, inputs):
    given, preprocessing = graph(inputs), Preprocessing({inputs - 1: BY_CHANNEL}, "data")
    emitted = emit_library(given, "net", CpuFeatures(), preprocessing)
    compile_for_host(emitted, "zig", tmp_path, lambda _: None)
    library = ctypes.CDLL(str(next(tmp_path.glob("*.so"))))
    function = library.net_preprocess if inputs == 1 else library.net_preprocess1
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2, 3)) * [300, 1, 5] + [1000, 0.5, -3]
    x[0], x[1], x[2, 0] = 1e30, -1e30, [np.inf, -np.inf, np.nan]
    x = x.astype(np.float32)
    found = np.zeros(x.shape, np.int8)
    for values, out in zip(x, found, strict=True):
        function(
            np.ascontiguousarray(values).ctypes.data_as(ctypes.c_void_p),
            out.ctypes.data_as(ctypes.c_void_p),
        )
    real = np.isfinite(x)
    prepared = preprocessing.apply([x] * inputs)[inputs - 1]
    wanted = quantize_input(np.nan_to_num(prepared), given.input_tensors[inputs - 1])
    assert np.array_equal(found[real], wanted[real])
    assert found[2, 0].tolist() == [127, -128, -128]  # what is no number becomes the lowest
    assert len(np.unique(found)) > 100
