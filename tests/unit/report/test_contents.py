"""``edgebuild inspect`` opens every valid ``.tflite`` and says what is in it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from edgebuild.cli.main import run as cli
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.report.contents import contents
from edgebuild.tflite import schema
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite

KINDS = [kind for kind in schema.enum_values("BuiltinOperator") if kind != "CUSTOM"]


def one(kind, **attrs):
    return one_op(kind, kind, [activation((1, 4))], [activation((1, 4))], attrs).graph


def seen(graph: Graph):
    return contents(read_tflite(write_tflite(graph)))


def test_every_operator_of_tflite():
    for kind in [*KINDS, "CUSTOM mine", "CUSTOM FlexErf"]:
        (row,) = seen(one(kind)).operators
        assert (row.kind, row.formats) == (kind, "int8 -> int8")


def test_every_number_format():
    for dtype in DType:
        odd = Tensor(0, "x", (1, 4), dtype)
        graph = one_op("cast", "CAST", [odd], [activation((1, 4))]).graph
        found = seen(graph)
        assert found.inputs == (f"{dtype} 1x4 (in0)",)
        assert found.operators[0].formats == f"{dtype} -> int8" and found.unsupported


def shown(model: bytes, tmp_path, capsys, *options):
    (tmp_path / "net.tflite").write_bytes(model)
    code = cli(["inspect", str(tmp_path / "net.tflite"), *options])
    said = capsys.readouterr()
    assert (code, said.err) == (0, ""), said.err
    return said.out


def with_subgraphs() -> bytes:
    """Return a model whose WHILE has a condition and a body; the body writes nothing."""
    import flatbuffers

    s = schema.module()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(write_tflite(one("WHILE")), 0))
    inner = write_tflite(one("CUSTOM inner"))
    for _ in range(2):
        other = s.ModelT.InitFromObj(s.Model.GetRootAs(inner, 0))
        other.subgraphs[0].operators[0].opcodeIndex = len(model.operatorCodes)
        model.operatorCodes += other.operatorCodes
        for tensor in other.subgraphs[0].tensors:
            tensor.buffer = 0
        model.subgraphs += other.subgraphs
    model.subgraphs[2].operators[0].outputs = []
    model.subgraphs[2].outputs = []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_several_subgraphs(tmp_path, capsys):
    out = shown(with_subgraphs(), tmp_path, capsys)
    assert "3 operators in 3 subgraphs" in out and "2:0" in out
    assert "the model has 3 subgraphs" in out and "CUSTOM inner" in out
    found = json.loads(shown(with_subgraphs(), tmp_path, capsys, "--json"))
    assert [row["subgraph"] for row in found["operators"]] == [0, 1, 2]
    assert found["unsupported"]["forms"][0]["kind"] == "WHILE"


@pytest.mark.parametrize("target", ["cortex-m4", "android-cpu", "android-gpu", "coral-usb"])
def test_several_subgraphs_on_every_kind_of_target(target, tmp_path, capsys):
    assert "WHILE" in shown(with_subgraphs(), tmp_path, capsys, "--target", target)


@pytest.mark.parametrize("target", ["cortex-m4", "android-cpu", "android-gpu", "coral-usb"])
def test_an_operator_without_outputs(target, tmp_path, capsys):
    graph = one("RELU")
    tensors = {**graph.tensors, 5: Tensor(5, "state", (), DType.RESOURCE)}
    ops = (
        Op("VAR_HANDLE", (), (5,)),
        *graph.ops,
        Op("ASSIGN_VARIABLE", (5, 1), ()),
    )
    graph = graph.replace(tensors=tensors, ops=ops)
    assert "ASSIGN_VARIABLE" in shown(write_tflite(graph), tmp_path, capsys, "--target", target)


def test_a_model_that_vela_compiled(tmp_path, capsys):
    stream = constant(np.zeros(48), dtype=DType.UINT8)
    weights = constant(np.zeros(100), dtype=DType.UINT8)
    scratch = Tensor(0, "scratch", (512,), DType.UINT8)
    operands = [stream, weights, scratch, activation((1, 4))]
    graph = one_op("vela", "CUSTOM ethos-u", operands, [activation((1, 4))]).graph
    out = shown(write_tflite(graph), tmp_path, capsys)
    assert "compiled for an Arm Ethos-U (Vela)" in out
    assert "command stream 48 B, weights 100 B, scratch 512 B" in out
    assert "pass the model that Vela compiled" in " ".join(out.split())


def test_a_float_model_is_shown_with_the_way_on(tmp_path, capsys):
    ends = [Tensor(0, "x", (1, 4), DType.FLOAT32)], [Tensor(0, "y", (1, 4), DType.FLOAT32)]
    out = shown(write_tflite(one_op("f", "RELU", *ends).graph), tmp_path, capsys)
    assert "computes on floats" in out
    assert "this is a float model" in out and "--data" in out


def test_open_dimensions_are_shown():
    graph = one("RELU")
    tensors = {i: dataclasses.replace(t, signature=(-1, 4)) for i, t in graph.tensors.items()}
    assert "int8 ?x4" in contents(graph.replace(tensors=tensors)).inputs[0]


def test_a_file_that_contradicts_itself_is_opened(tmp_path, capsys):
    graph = one("RELU")
    tensors = {i: dataclasses.replace(t, shape=(1, 4 + i)) for i, t in graph.tensors.items()}
    for target in ("cortex-m4", "android-cpu"):
        out = shown(
            write_tflite(graph.replace(tensors=tensors)), tmp_path, capsys, "--target", target
        )
        assert "RELU" in out


def test_a_model_without_inputs_or_outputs_is_opened(tmp_path, capsys):
    graph = one("RELU").replace(outputs=())
    assert "the model has no outputs" in shown(write_tflite(graph), tmp_path, capsys)
