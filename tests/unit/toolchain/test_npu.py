"""NPU compilation: nothing is claimed without an SDK, and the error says what to install."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edgebuild.delegates.npu import COMPILED_OP, SDKS, after_compilation, check, known_chips
from edgebuild.errors import InputError, ToolError
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.profile import Delegate
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from edgebuild.toolchain import npu
from edgebuild.toolchain.npu import compile_for_npu
from tests.single_ops import base

CHIPS = {"qualcomm": "SM8750", "mediatek": "MT6991", "google": "Tensor_G5"}
MODEL = write_tflite(base("CONV_2D", "int8").graph())


def delegate(vendor, soc=None):
    return Delegate("npu", vendor=vendor, soc=soc or CHIPS[vendor])


@pytest.mark.parametrize("vendor", CHIPS)
def test_nothing_is_claimed_before_compilation(vendor):
    found = check(base("CONV_2D", "int8").graph(), delegate(vendor))
    assert [v.reason for v in found.verdicts] == [
        f"not known before it is compiled for {CHIPS[vendor]}"
    ]
    assert found.delegated_partitions == 0
    if SDKS[vendor].missing():
        assert f"{SDKS[vendor].package}" in found.notes[-1]


@pytest.mark.parametrize("vendor", CHIPS)
def test_without_the_sdk_the_error_says_what_to_install(vendor, tmp_path):
    if not SDKS[vendor].missing():
        pytest.skip("the SDK is installed")
    with pytest.raises(ToolError, match="SDK for LiteRT is") as failure:
        compile_for_npu(MODEL, delegate(vendor), tmp_path)
    assert SDKS[vendor].package in failure.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("vendor", CHIPS)
def test_chips_are_those_of_the_installed_litert(vendor):
    assert CHIPS[vendor] in known_chips(vendor)


def test_an_unknown_chip_is_refused_with_the_nearest(tmp_path):
    chip = delegate("qualcomm", "SM8751")
    for ask in (
        lambda: check(base("CONV_2D", "int8").graph(), chip),
        lambda: compile_for_npu(MODEL, chip, tmp_path),
    ):
        with pytest.raises(InputError, match="chip 'SM8751'; did you mean 'SM8750'") as failure:
            ask()
        assert "SA8255" in failure.value.details[0]


def test_any_chip_is_asked_of_a_litert_that_lists_none(monkeypatch):
    monkeypatch.setitem(sys.modules, SDKS["qualcomm"].targets, None)
    assert known_chips("qualcomm") == ()
    found = check(base("CONV_2D", "int8").graph(), delegate("qualcomm", "SM9999"))
    assert found.verdicts[0].reason == "not known before it is compiled for SM9999"


def test_an_sdk_without_its_libraries_is_told_apart(tmp_path, monkeypatch):
    (tmp_path / "ai_edge_litert_sdk_qualcomm").mkdir()
    (tmp_path / "ai_edge_litert_sdk_qualcomm" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    if SDKS["qualcomm"].folder is not None:
        pytest.skip("the SDK is installed")
    assert "installed without Qualcomm's libraries" in SDKS["qualcomm"].missing()


def test_a_compiler_that_cannot_be_loaded_is_explained(tmp_path, monkeypatch):
    """LiteRT's real plug-in runs here, and finds no library of Qualcomm's."""
    if not SDKS["qualcomm"].missing():
        pytest.skip("the SDK is installed")
    monkeypatch.setattr(type(SDKS["qualcomm"]), "missing", lambda self: "")
    with pytest.raises(ToolError, match="Qualcomm's compiler refused") as failure:
        compile_for_npu(MODEL, delegate("qualcomm"), tmp_path)
    assert any("libQnnHtp.so" in line for line in failure.value.details)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("vendor", CHIPS)
def test_an_installed_sdk_compiles(vendor, tmp_path):
    if SDKS[vendor].missing():
        pytest.skip(SDKS[vendor].missing())
    made = compile_for_npu(MODEL, delegate(vendor), tmp_path)
    assert made.npu_operators == made.operators == 1
    kinds = {op.kind for op in read_tflite(made.file.read_bytes()).ops}
    assert any(kind.startswith("CUSTOM") for kind in kinds)


def test_the_child_is_shipped():
    assert npu._CHILD.is_file()


def test_what_compilation_tells():
    graph = base("CONV_2D", "int8").graph()
    before = check(graph, delegate("qualcomm"))
    assert after_compilation(before, graph, 0, 1) is before
    whole = after_compilation(before, graph, 1, 1)
    assert whole.known and whole.fallbacks == () and whole.delegate == before.delegate


LITERT = """
import json, sys
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator as Hardware
answers = []
for model, names in json.load(sys.stdin):
    accelerators = Hardware(0)
    for name in names:
        accelerators |= Hardware[name]
    try:
        compiled = CompiledModel.from_buffer(bytes.fromhex(model), hardware_accel=accelerators)
        buffers = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
        compiled.run_by_index(0, *buffers)
        answers.append("ran" if not compiled.is_fully_accelerated() else "ran, fully accelerated")
    except RuntimeError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def chain(*kinds):
    """One operator after the other on a vector."""
    tensors = {
        i: Tensor(i, f"t{i}", (1, 8), DType.FLOAT32, None, None, False)
        for i in range(len(kinds) + 1)
    }
    custom = {"custom_options": bytes([0, 0, 0x24, 1])}
    ops = tuple(
        Op(kind, (i,), (i + 1,), custom if kind == COMPILED_OP else {}, i)
        for i, kind in enumerate(kinds)
    )
    return write_tflite(Graph("chain", (0,), (len(kinds),), ops, tensors))


def test_litert_runs_nothing_compiled_on_the_cpu_and_says_when_the_npu_alone_is_too_little():
    """What the wrapper rests on: it asks for both where the model is compiled, else for the NPU."""
    whole, partial, plain = chain(COMPILED_OP), chain(COMPILED_OP, "RELU"), chain("RELU")
    both = ["NPU", "CPU"]
    asked = [(whole, both), (partial, both), (partial, ["NPU"]), (plain, ["NPU"]), (plain, both)]
    done = subprocess.run(
        [sys.executable, "-c", LITERT],
        input=json.dumps([(model.hex(), names) for model, names in asked]),
        capture_output=True,
        text=True,
    )
    answers = json.loads(done.stdout.splitlines()[-1])
    assert all("Failed to invoke the compiled model" in answer for answer in answers[:2])
    assert all("Some ops are not accelerated" in answer for answer in answers[2:4])
    assert answers[4] == "ran, fully accelerated"  # on the CPU: the answer tells nothing
