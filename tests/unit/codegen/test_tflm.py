import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.codegen import tflm_arena as arena_module
from edgebuild.codegen.tflm import tflm_arena, tflm_files
from edgebuild.codegen.tflm_arena import Buffer, planned_bytes
from edgebuild.codegen.tflm_kernels import (
    Struct,
    cmsis_scratch,
    data_blocks,
    kernel_sums_bytes,
    reference_scratch,
)
from edgebuild.codegen.tflm_ops import resolver_methods
from edgebuild.errors import InputError, UnsupportedOperatorError
from edgebuild.figures import How
from edgebuild.graph import DType, Graph, Tensor
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.tflite_micro import RESOLVER_METHODS
from edgebuild.targets import CORES
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.made_models import MODELS, TFLM_ARENA_BYTES

DOCS = Path(__file__).resolve().parents[3] / "docs/tflm.md"
NONE, DSP, MVE = CORES["cortex-m3"], CORES["cortex-m4"], CORES["cortex-m55"]

STAND_IN = """
#pragma once
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite {
template <unsigned int tOpCount>
class MicroMutableOpResolver {
 public:
%s
  unsigned int count = 0;
 private:
  TfLiteStatus Add() { return count == tOpCount ? kTfLiteError : (++count, kTfLiteOk); }
};
}  // namespace tflite
"""

MAIN = """
#include "model_data.h"
#include <cstdint>
int main() {
  KwsOpResolver resolver;
  if (RegisterKwsOps(resolver) != kTfLiteOk) return 1;
  if (resolver.count != %(ops)d) return 2;
  if (RegisterKwsOps(resolver) == kTfLiteOk) return 3;
  if (reinterpret_cast<std::uintptr_t>(g_kws_data) %% 16 != 0) return 4;
  if (g_kws_data_len != %(length)d) return 5;
  unsigned long sum = 0;
  for (unsigned int i = 0; i < g_kws_data_len; ++i) sum += g_kws_data[i];
  if (sum != %(sum)d) return 6;
  static_assert(kKwsArenaBytes == %(arena)d, "arena");
  return 0;
}
"""


def act(*shape: int, scale: float = 0.5, dtype: DType = DType.INT8) -> Tensor:
    return activation(shape, scale, dtype=dtype)


def weights(*shape: int, scales: int = 0, axis: int = 0) -> Tensor:
    scale = [0.1] * scales if scales else 0.1
    return constant(np.ones(shape), scale, axis=axis)


def ints(values: object) -> Tensor:
    return constant(values, dtype=DType.INT32)


def bias(length: int) -> Tensor:
    return constant(np.zeros(length), 0.05, dtype=DType.INT32)


def conv_attrs(**changes: object) -> dict[str, object]:
    attrs = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
    attrs |= {"dilation_w_factor": 1, "dilation_h_factor": 1, "fused_activation_function": "NONE"}
    return attrs | changes


def conv(shape, kernel, out, **changes) -> Graph:
    filters = weights(out[-1], *kernel, shape[-1], scales=out[-1])
    inputs = [act(*shape), filters, bias(out[-1])]
    return one_op("conv", "CONV_2D", inputs, [act(*out)], conv_attrs(**changes)).graph


def depthwise(shape, kernel, out, **changes) -> Graph:
    filters = weights(1, *kernel, out[-1], scales=out[-1], axis=3)
    attrs = conv_attrs(depth_multiplier=out[-1] // shape[-1], **changes)
    inputs = [act(*shape), filters, bias(out[-1])]
    return one_op("dw", "DEPTHWISE_CONV_2D", inputs, [act(*out)], attrs).graph


def fully_connected(shape=(1, 20), outputs=7, scales=0) -> Graph:
    inputs = [act(*shape), weights(outputs, shape[-1], scales=scales), bias(outputs)]
    out = act(*shape[:-1], outputs)
    attrs = {"fused_activation_function": "NONE", "keep_num_dims": len(shape) > 2}
    return one_op("fc", "FULLY_CONNECTED", inputs, [out], attrs).graph


def average_pool(depth=4) -> Graph:
    attrs = {"padding": "VALID", "stride_w": 2, "stride_h": 2, "filter_width": 2}
    attrs |= {"filter_height": 2, "fused_activation_function": "NONE"}
    ends = [act(1, 8, 8, depth)], [act(1, 4, 4, depth)]
    return one_op("pool", "AVERAGE_POOL_2D", *ends, attrs).graph


def mean(*shape: int, axes=(1, 2), out=()) -> Graph:
    inputs = [act(*shape), ints(list(axes))]
    return one_op("mean", "MEAN", inputs, [act(*out)], {"keep_dims": False}).graph


def test_a_resolver_method_is_named_for_each_kind_once_and_sorted():
    graph = conv((1, 8, 8, 4), (3, 3), (1, 8, 8, 4))
    twice = graph.replace(ops=graph.ops * 2)
    assert resolver_methods(twice) == ("AddConv2D",)
    assert len(set(RESOLVER_METHODS.values())) == len(RESOLVER_METHODS)


def test_an_operator_that_tflite_micro_lacks_is_named_with_its_place():
    graph = one_op("x", "RELU_N1_TO_1", [act(1, 4)], [act(1, 4)]).graph
    with pytest.raises(UnsupportedOperatorError) as caught:
        resolver_methods(graph)
    assert "TFLite Micro has no operator RELU_N1_TO_1" in str(caught.value)
    assert "RELU_N1_TO_1 at operator 0" in str(caught.value)


def test_a_custom_operator_of_tflite_micro_is_known():
    graph = one_op("x", "CUSTOM ethos-u", [act(1, 4)], [act(1, 4)]).graph
    assert resolver_methods(graph) == ("AddEthosU",)


def test_the_files_hold_the_model_the_operators_and_the_arena():
    graph = conv((1, 8, 8, 4), (3, 3), (1, 8, 8, 4))
    model = write_tflite(graph)
    files = tflm_files(graph, model, "kws_small", "cortex-m4")
    assert sorted(files) == ["model_data.cc", "model_data.h"]
    body = files["model_data.cc"].split("{", 1)[1].split("}", 1)[0]
    assert bytes(int(h, 16) for h in re.findall(r"0x[0-9a-f]{2}", body)) == model
    assert f"g_kws_small_data_len = {len(model)};" in files["model_data.cc"]
    header = files["model_data.h"]
    assert "MicroMutableOpResolver<1>" in header
    assert "resolver.AddConv2D()" in header
    arena = tflm_arena(graph, "cortex-m4")
    assert f"kKwsSmallArenaBytes = {arena.arena_bytes};" in header
    assert "KERNELS_OPTIMIZED_FOR_SPEED" not in header
    assert files == tflm_files(graph, model, "kws_small", "cortex-m4")
    assert max(map(len, files["model_data.cc"].splitlines())) <= 100


def test_a_name_that_is_no_identifier_is_refused():
    graph = fully_connected()
    with pytest.raises(InputError, match="'My Net' is not a lower-case C identifier") as caught:
        tflm_files(graph, b"", "My Net", "cortex-m4")
    assert caught.value.hint == "my_net"


def test_a_model_without_operators_is_refused():
    graph = fully_connected().replace(ops=())
    with pytest.raises(InputError, match="has no operator"):
        tflm_files(graph, b"", "net", "cortex-m4")


def test_of_a_model_with_its_own_memory_plan_the_arena_is_left_out():
    graph = fully_connected()
    model = write_tflite(graph) + b"OfflineMemoryAllocation"
    header = tflm_files(graph, model, "net", "cortex-m4")["model_data.h"]
    assert "NetOpResolver" in header and "g_net_data[]" in header
    assert "NetArenaBytes" not in header and "{" not in header.replace("{\n", "")


def test_an_unknown_core_is_an_error_with_the_nearest_name():
    with pytest.raises(InputError, match="'cortex-m5' is not known; did you mean 'cortex-m"):
        tflm_arena(fully_connected(), "cortex-m5")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A folder with a MicroMutableOpResolver that counts; TFLite Micro itself is not at hand."""
    folder = tmp_path_factory.mktemp("tflm")
    header = folder / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    header.parent.mkdir(parents=True)
    methods = (f"  TfLiteStatus {m}() {{ return Add(); }}" for m in RESOLVER_METHODS.values())
    header.write_text(STAND_IN % "\n".join(methods))
    return folder


def _compile(folder, files, stand_in, *arguments: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{folder}"]
    command = [*arguments[:-1], *flags, f"-I{stand_in}", *arguments[-1].split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("triple", ["thumb-freestanding-eabi", "x86_64-linux-musl"])
def test_the_files_compile_as_cpp17(triple, stand_in, tmp_path):
    pytest.importorskip("ziglang")
    graph = fully_connected()
    files = tflm_files(graph, write_tflite(graph), "kws", "cortex-m55")
    zig = [sys.executable, "-m", "ziglang", "c++", "-target", triple]
    zig += ["-mcpu=cortex_m55"] if triple.startswith("thumb") else []
    # A freestanding target has no C++ library; the header needs <cstddef> alone.
    (tmp_path / "cstddef").write_text("#include <stddef.h>\nnamespace std { using ::size_t; }\n")
    _compile(tmp_path, files, stand_in, *zig, "-c model_data.cc -o model_data.o")


def test_the_registered_operators_fill_the_resolver_exactly(stand_in, tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no g++ or clang++ on this machine")
    graph = fully_connected()
    model = write_tflite(graph)
    arena = tflm_arena(graph, "cortex-m55")
    files = tflm_files(graph, model, "kws", "cortex-m55")
    expected = {"ops": 1, "length": len(model), "sum": sum(model), "arena": arena.arena_bytes}
    files["main.cc"] = MAIN % expected
    _compile(tmp_path, files, stand_in, compiler, "main.cc model_data.cc -o app")
    assert subprocess.run([tmp_path / "app"], timeout=60).returncode == 0
    files["main.cc"] = MAIN % (expected | {"arena": arena.arena_bytes_for_speed})
    speed = "-DKERNELS_OPTIMIZED_FOR_SPEED main.cc -c -o app.o"
    _compile(tmp_path, files, stand_in, compiler, speed)


INTERPRETER = """
#pragma once
#include <stddef.h>
#include <stdint.h>
struct TfLiteTensor { union { int8_t* int8; } data; };
namespace tflite {
struct Model;
inline const Model* GetModel(const void*) { return nullptr; }
class MicroInterpreter {
 public:
  template <typename R> MicroInterpreter(const Model*, const R&, uint8_t*, size_t) {}
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  TfLiteStatus Invoke() { return kTfLiteOk; }
  TfLiteTensor* input(size_t) { return &tensor_; }
 private:
  TfLiteTensor tensor_{};
};
}  // namespace tflite
"""


def _example(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return text


def test_the_cpp_example_of_the_documentation_compiles(stand_in, tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no g++ or clang++ on this machine")
    for name in ("micro/micro_interpreter.h", "schema/schema_generated.h"):
        header = tmp_path / "tensorflow/lite" / name
        header.parent.mkdir(parents=True)
        header.write_text(INTERPRETER if "interpreter" in name else "")
    graph = fully_connected()
    files = tflm_files(graph, write_tflite(graph), "kws_int8", "cortex-m4")
    files["main.cc"] = _example("cpp")
    _compile(tmp_path, files, stand_in, compiler, "-c main.cc -o main.o")


def test_the_python_example_of_the_documentation_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.tflite").write_bytes(write_tflite(fully_connected()))
    names: dict[str, object] = {}
    exec(_example("python"), names)
    assert sorted(names["files"]) == ["model_data.cc", "model_data.h"]
    assert "model of TFLite Micro's allocator" in capsys.readouterr().out


def test_structures_have_the_sizes_of_both_word_widths():
    assert Struct(4, 2).size(4) == 12
    assert Struct(4, 2).size(8) == 24
    assert Struct(5).size(8) == 8


def test_the_planner_places_the_largest_first_and_fills_gaps():
    assert planned_bytes([]) == 0
    # 64 goes to 0, 32 lives beside it, 16 only after them.
    assert planned_bytes([Buffer(32, 0, 1), Buffer(64, 1, 1), Buffer(16, 2, 2)]) == 96
    assert planned_bytes([Buffer(32, 0, 0), Buffer(32, 1, 1)]) == 32
    three = [Buffer(64, 0, 2), Buffer(32, 0, 0), Buffer(48, 1, 2), Buffer(16, 0, 0)]
    assert planned_bytes(three) == 112


@pytest.mark.parametrize(
    ("graph", "none", "dsp", "mve"),
    [
        # 3 x 3 x 5 = 45 values: two int16 columns of 48, four int8 columns of 48.
        (conv((1, 8, 8, 5), (3, 3), (1, 8, 8, 4)), (192,), (192,), (192,)),
        (conv((1, 8, 8, 5), (1, 1), (1, 8, 8, 4)), (), (20,), ()),
        (conv((1, 8, 8, 5), (1, 1), (1, 4, 4, 4), stride_w=2, stride_h=2), (), (), ()),
        (conv((1, 1, 32, 4), (1, 8), (1, 1, 32, 4)), (128,), (128,), (128,)),
        (conv((1, 1, 32, 8), (1, 1), (1, 1, 64, 8), padding="VALID"), (), (32,), ()),
        (depthwise((1, 8, 8, 6), (3, 3), (1, 8, 8, 6)), (), (), (4 * 124 * 9,)),
        (depthwise((1, 8, 8, 6), (5, 5), (1, 8, 8, 6)), (), (300,), (4 * 124 * 25,)),
        (depthwise((1, 8, 8, 6), (3, 3), (1, 8, 8, 6), dilation_w_factor=2), (), (), ()),
        (depthwise((1, 8, 8, 1), (3, 3), (1, 8, 8, 8)), (), (), (72 + 64,)),
        (fully_connected(), (), (), (28,)),
        (fully_connected((1, 4, 20)), (), (80,), (28,)),
        (average_pool(), (), (16,), ()),
        (mean(1, 4, 4, 20, out=(1, 20)), (80, 8, 16), (80, 8, 16), (80, 8, 16)),
    ],
)
def test_cmsis_nn_scratch_of_each_kind_of_core(graph, none, dsp, mve):
    node = graph.node(0)
    assert [cmsis_scratch(node, cpu) for cpu in (NONE, DSP, MVE)] == [none, dsp, mve]


def test_reference_kernels_have_no_scratch_but_reductions():
    assert reference_scratch(conv((1, 8, 8, 5), (3, 3), (1, 8, 8, 4)).node(0)) == ()
    assert reference_scratch(mean(1, 4, 4, 20, axes=(3,), out=(1, 4, 4)).node(0)) == (64, 4, 16)


def test_a_kernel_that_is_not_modelled_gets_a_bound():
    graph = one_op("x", "CUMSUM", [act(1, 40), ints(1)], [act(1, 40)]).graph
    node = graph.node(0)
    assert reference_scratch(node) == cmsis_scratch(node, DSP) == (8 * (81 + 16),)
    assert data_blocks(node, 4)[0] >= 256
    tensors = [act(1, 4, 6), act(1, 6, 8)], [act(1, 4, 8)]
    matmul = one_op("x", "BATCH_MATMUL", *tensors, {"adj_x": False, "adj_y": False}).graph.node(0)
    assert data_blocks(matmul, 4)[1:] == (32, 32)


def test_int16_and_odd_ranks_get_a_bound_and_float_the_reference():
    wide = act(1, 8, 8, 5, dtype=DType.INT16), act(1, 8, 8, 4, dtype=DType.INT16)
    filters = weights(4, 3, 3, 5, scales=4)
    graph = one_op("c", "CONV_2D", [wide[0], filters, None], [wide[1]], conv_attrs()).graph
    (size,) = cmsis_scratch(graph.node(0), DSP)
    assert size >= 8 * filters.elements
    odd = one_op("c", "CONV_2D", [act(8, 5), filters, None], [act(8, 4)], conv_attrs()).graph
    assert cmsis_scratch(odd.node(0), DSP) == (8 * (40 + 180 + 32 + 16),)
    real = act(1, 8, 8, 5, dtype=DType.FLOAT32), act(1, 8, 8, 4, dtype=DType.FLOAT32)
    graph = one_op("c", "CONV_2D", [real[0], filters, None], [real[1]], conv_attrs()).graph
    assert cmsis_scratch(graph.node(0), DSP) == ()


def test_per_channel_layers_keep_a_multiplier_and_a_shift_for_each_channel():
    assert data_blocks(conv((1, 8, 8, 5), (3, 3), (1, 8, 8, 6)).node(0), 4)[1:] == (24, 24)
    assert data_blocks(depthwise((1, 8, 8, 5), (3, 3), (1, 8, 8, 5)).node(0), 4)[1:] == (20, 20)
    assert data_blocks(fully_connected().node(0), 4)[1:] == ()
    assert data_blocks(fully_connected(scales=7).node(0), 4)[1:] == (28, 28)


def test_weight_sums_come_on_top_where_helium_kernels_are_built_for_speed():
    graph = fully_connected()
    assert kernel_sums_bytes(graph.node(0), DSP) == 0
    arena = tflm_arena(graph, "cortex-m55")
    assert arena.kernel_sums == 32
    assert arena.arena_bytes_for_speed == arena.arena_bytes + 32


def test_a_variable_tensor_is_persistent_and_not_planned():
    graph = fully_connected()
    variable = Tensor(9, "state", (100,), DType.INT8, is_variable=True)
    more = graph.replace(tensors={**graph.tensors, 9: variable})
    before, after = tflm_arena(graph, "cortex-m4"), tflm_arena(more, "cortex-m4")
    assert after.activations == before.activations
    assert after.persistent - before.persistent in (112, 128)


def test_the_parts_add_up_and_the_figure_says_how_it_was_got():
    arena = tflm_arena(average_pool(), "cortex-m4")
    parts = (arena.activations, arena.scratch, arena.planning, arena.persistent, arena.margin)
    assert sum(parts) == arena.arena_bytes
    assert all(part % 16 == 0 for part in parts)
    assert arena.margin > arena_module.MARGIN_BYTES
    figure = arena.figure()
    assert (figure.value, figure.unit, figure.how) == (arena.arena_bytes, "B", How.ESTIMATED)
    assert "CMSIS-NN kernels on cortex-m4" in figure.source
    assert f"scratch {arena.scratch}" in figure.source


def test_planning_can_need_more_than_the_plan():
    arena = tflm_arena(fully_connected(), "cortex-m4")
    assert arena.planning > 0
    assert dataclasses.replace(arena, planning=0).need_bytes < arena.need_bytes


def test_the_arena_is_enough_on_every_core_and_at_most_35_percent_above_the_need(mlperf_dir):
    graphs = {m: read_tflite((mlperf_dir / f"{m}_int8.tflite").read_bytes()) for m in MODELS}
    for core, needs in TFLM_ARENA_BYTES.items():
        for name, need in needs.items():
            arena = tflm_arena(graphs[name], core)
            where = f"{name} on {core}: {arena.arena_bytes} for a need of {need}"
            assert need <= arena.need_bytes < arena.arena_bytes <= 1.35 * need, where
