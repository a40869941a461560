"""The generated library: deterministic, self-contained, safe whatever a model's names say."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from edgebuild.codegen.c_library import generate_library
from edgebuild.codegen.sources import runtime_files, runtime_version
from edgebuild.errors import InputError, InternalError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.memory import plan_memory
from edgebuild.ops import KernelCall

Q = Quantization((0.5,), (3,))


def chain(name="hostile"):
    tensors = {
        0: Tensor(0, 'in"; #include </etc/passwd> \\', (1, 4), DType.INT8, Q),
        1: Tensor(1, "mid", (1, 4), DType.INT8, Q),
        2: Tensor(2, "out", (4,), DType.INT8, Q),
    }
    ops = (Op("RELU", (0,), (1,)), Op("RESHAPE", (1,), (2,)))
    return Graph(name, (0,), (2,), ops, tensors)


def calls(**changes):
    first = KernelCall(
        "eb_x",
        "common/eb_math.h",
        (),
        "eb_x_params",
        {"low": -(2**31), "pair": (1, 2), "table": np.arange(5, dtype=np.int8), "f": 0.1},
        **changes,
    )
    view = KernelCall("eb_copy", "common/eb_math.h", (), in_place=((0, 0),), view=True)
    return [first, view]


def generate(graph=None, bound=None):
    graph, bound = graph or chain(), bound or calls()
    return generate_library(graph, bound, plan_memory(graph, bound), "net")


def test_files():
    assert sorted(generate()) == [
        "edgebuild/common/eb_math.h",
        "edgebuild/eb.h",
        "edgebuild/eb_version.h",
        "net.c",
        "net.h",
        "net_weights.c",
        "net_weights.h",
    ]


def test_deterministic():
    assert generate() == generate()


def test_hostile_names_are_escaped():
    text = "".join(generate().values())
    assert "/etc/passwd>" not in text
    assert '"in_; _include _/etc/passwd_ _"' in text


def test_the_header_names_inputs_and_outputs():
    header = generate()["net.h"]
    assert ' * input 0, "in_; _include _/etc/passwd_ _": int8 [1 x 4], scale 0.5' in header
    assert ' * output 0, "out": int8 [4], scale 0.5, zero point 3' in header


def test_parameters():
    files = generate()
    assert ".low = (-2147483647 - 1)," in files["net.c"]
    assert ".pair = {1, 2}," in files["net.c"]
    assert ".table = net_table0," in files["net.c"]
    assert ".f = 0x1.99999a0000000p-4f," in files["net.c"]
    assert "_Alignas(4) EB_WEIGHTS(net_table0) const int8_t net_table0[5]" in files["net_weights.c"]


def test_a_view_costs_no_call():
    text = generate()["net.c"]
    assert "layer 1: RESHAPE (shares its input's memory)" in text
    assert "eb_copy(" not in text


def test_scratch_is_passed_last():
    assert "base + 32);" in generate(bound=calls(scratch_bytes=20))["net.c"]


def test_equal_arrays_are_stored_once():
    bound = calls()
    bound[0] = dataclasses.replace(
        bound[0], params={"a": np.arange(5, dtype=np.int8), "b": np.arange(5, dtype=np.int8)}
    )
    assert generate(bound=bound)["net_weights.h"].count("extern") == 1


def test_constant_output_is_refused():
    data = np.zeros((4,), np.int8)
    tensors = {**chain().tensors, 7: Tensor(7, "const", (4,), DType.INT8, Q, data)}
    graph = chain().replace(tensors=tensors, outputs=(2, 7))
    with pytest.raises(InputError, match="'const' is a constant"):
        generate(graph)


def test_a_missing_file_of_the_runtime_is_our_bug():
    with pytest.raises(InternalError):
        runtime_files([KernelCall("f", "nowhere/f.h", ())])


def test_a_runtime_of_another_version_is_refused_before_all_else(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    files = generate()
    mine = files["edgebuild/eb_version.h"]
    assert mine.count(runtime_version()) == 1
    for change, words in ((runtime_version(), ""), ("0x1234U", "net.c and edgebuild/ are of diff")):
        for path, text in {**files, "edgebuild/eb_version.h": mine}.items():
            (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
            said = (
                text if not path.endswith("version.h") else text.replace(runtime_version(), change)
            )
            (tmp_path / path).write_text(said)
        (tmp_path / "edgebuild/common/eb_math.h").unlink()
        done = subprocess.run(
            ["gcc", "-fsyntax-only", str(tmp_path / "net.c")], capture_output=True, text=True
        )
        first = next(line for line in done.stderr.splitlines() if "error" in line)
        assert words in first and ("eb_math.h" in first) == (not words)


def test_header_is_valid_c_and_cpp(tmp_path):
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        pytest.skip("no gcc and g++ on this machine")
    for path, text in generate().items():
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).write_text(text)
    for compiler, suffix in (("gcc", "c"), ("g++", "cc")):
        main = tmp_path / f"main.{suffix}"
        main.write_text('#include "net.h"\nint main(void) { return net_init(0, 0) == 0; }\n')
        subprocess.run(
            [compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(main)], check=True
        )
