"""The GPU table says what TensorFlow's analyzer says, or data/gpu.json explains why it does not."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import venv

import pytest

from edgebuild.delegates.gpu import check
from edgebuild.delegates.gpu import operator_reasons as reasons
from edgebuild.delegates.table import load_raw, load_table
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.profile import Delegate
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.conftest import models_path
from tests.gpu_cases import cases
from tests.gpu_truth import GOLDEN, analyze, differences, digest
from tests.single_ops import S4, base, edited, t, w

VERDICTS = json.loads(GOLDEN.read_text())["verdicts"]
REAL = {f.name: f for f in sorted(models_path().glob("**/*.tflite")) if f.name in VERDICTS}


def reason(spec):
    (found,) = reasons(read_tflite(write_tflite(spec.graph())))
    return found


def test_generated_operators_agree_with_the_recorded_analyzer():
    wrong, explained = [], 0
    for name, graph in cases():
        model = write_tflite(graph)
        recorded, messages = VERDICTS[name]
        assert recorded == digest(model), f"{name} changed: run benchmarks/gpu_table.py --record"
        for difference in differences(model, messages):
            explained += difference.explained
            if not difference.explained:
                wrong.append(f"{name}: {difference.text}")
    assert wrong == []
    assert 0 < explained < 120


@pytest.mark.models
@pytest.mark.skipif(not REAL, reason="no public models (EDGEBUILD_MODELS)")
def test_real_models_agree_with_the_recorded_analyzer():
    for name, path in REAL.items():
        messages = VERDICTS[name][1]
        assert list(differences(path.read_bytes(), messages)) == [], name


def test_the_recording_is_two_sided():
    refused = sum(bool(messages) for _, messages in VERDICTS.values())
    assert len(VERDICTS) > 800
    assert 250 < refused < len(VERDICTS) - 250


def test_every_limit_of_the_check_is_broken_by_some_case():
    table, broken = load_table("gpu"), set()
    for _, graph in cases():
        (found,) = [table.reason(node, table_setting()) for node in graph.nodes()]
        broken |= {(graph.ops[0].kind, part) for part in found.split("; ")}
    newer = {k for kinds in load_raw("gpu")["newer_than_analyzer"] for k in kinds.split("|")}
    sentences = {
        c.sentence
        for kind, constraints in table.ops.items()
        if kind not in newer and not kind.startswith("CUSTOM")
        for c in constraints
    }
    # The analyzer does not survive a ONE_HOT of fewer inputs.
    unasked = {"the number of inputs must be 4"}
    assert sentences - {sentence for _, sentence in broken} == unasked


def table_setting():
    from edgebuild.delegates.vocabulary import Setting

    return Setting()


@pytest.mark.slow
def test_an_old_tensorflow_says_what_is_recorded(tmp_path):
    venv.create(tmp_path / "old", with_pip=True)
    python = str(tmp_path / "old" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "tensorflow-cpu==2.17.1"]
    if sys.version_info[:2] > (3, 12) or subprocess.run(install, check=False).returncode:
        pytest.skip("tensorflow-cpu 2.17.1 cannot be installed here")
    models = {name: write_tflite(graph) for name, graph in cases()}
    models |= {name: path.read_bytes() for name, path in REAL.items()}
    asked = analyze(python, models)
    for name, messages in asked.messages.items():
        assert set(messages) == set(VERDICTS[name][1]), name


def test_the_largest_partition_alone_goes_to_the_gpu():
    kinds = ["ABS", "ARG_MAX", "ABS", "ABS"]
    tensors = {i: dataclasses.replace(t(), index=i, name=f"t{i}") for i in range(5)}
    ops = tuple(Op(kind, (i,), (i + 1,)) for i, kind in enumerate(kinds))
    found = check(Graph("chain", (0,), (4,), ops, tensors), Delegate("gpu"))
    assert [v.delegated for v in found.verdicts] == [False, False, True, True]
    assert found.delegated_partitions == 1
    assert found.fallbacks[1].reason == "the GPU delegate has no ARG_MAX"


def test_what_the_parsers_add_to_the_check():
    assert reason(base("TOPK_V2")) == (
        "only LiteRT's newer GPU accelerator has TOPK_V2, not the GPU delegate"
    )
    assert reason(edited(base("ADD"), version=4)) == "the operator's version must be at most 2"
    assert reason(edited(base("SLICE"), version=5)) == "the operator's version must be at most 2"
    assert reason(base("RELU", "int16")) == (
        "activations among the inputs and outputs must be float32, float16, int8 or uint8"
    )
    assert "rank" in reason(edited(base("ABS"), inputs={0: t((1, 1, 8, 8, 4))}))
    assert reason(base("RELU_0_TO_1")) == ""
    assert reason(base("UNPACK")) == ""


@pytest.mark.parametrize("kind", sorted(load_table("gpu_delegate").ops))
def test_every_operator_of_the_parsers_is_taken_in_some_form(kind):
    if kind.startswith("CUSTOM"):
        spec = edited(base("ABS" if "Max" in kind else "ADD_N"))
        spec = dataclasses.replace(spec, kind=kind)
        if kind.endswith("2D") and "Argmax" in kind:
            spec = edited(spec, outputs={1: t(S4)})
        assert reason(edited(spec, inputs={1: t(S4)}) if "Unpool" in kind else spec) == ""
    elif kind in ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"):
        assert list(reasons(compared(kind))) == ["", "", ""]
    elif kind == "DENSIFY":
        assert next(iter(reasons(base(kind).graph()))) == ""
    elif kind == "PACK":
        plain = edited(base(kind), inputs={0: t((8, 4)), 1: t((8, 4))}, outputs={0: t((2, 8, 4))})
        assert reason(plain) == ""
    else:
        assert reason(base(kind)) == ""


def compared(kind, *, casts=1):
    """Return a comparison whose result goes to CASTs, each of which an ABS reads."""
    tensors = {i: Tensor(i, f"t{i}", S4, DType.FLOAT32) for i in (0, 1)}
    tensors[2] = Tensor(2, "t2", S4, DType.BOOL)
    ops = [Op(kind, (0, 1), (2,))]
    for position in range(3, 3 + 2 * casts, 2):
        for index in (position, position + 1):
            tensors[index] = Tensor(index, f"t{index}", S4, DType.FLOAT32)
        ops.append(Op("CAST", (2,), (position,)))
        ops.append(Op("ABS", (position,), (position + 1,)))
    return Graph("compared", (0, 1), (max(tensors),), tuple(ops), tensors)


def test_booleans_stay_between_a_comparison_and_one_cast():
    alone = base("LESS")
    assert reason(alone) == "its result must go to one CAST or SELECT of floats alone"
    refused = list(reasons(compared("LESS", casts=2)))
    assert refused[0] == "its result must go to one CAST or SELECT of floats alone"


def test_eight_bit_models_are_taken():
    assert reason(base("CONV_2D", "int8")) == ""
    assert reason(edited(base("FULLY_CONNECTED"), inputs={1: w((3, 4), "int8")})) == ""
