"""The parts of a model in a build folder: written whole, checked, or left out with a reason."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edgebuild.backends.base import Cut, Shipment
from edgebuild.delegates.edgetpu import edgetpu_compatibility
from edgebuild.errors import InternalError
from edgebuild.graph import DType, Op, Tensor
from edgebuild.pipeline import parts as parts_module
from edgebuild.pipeline.parts import leave_parts
from edgebuild.report.parts import Feed
from edgebuild.tflite.reader import read_tflite_file
from edgebuild.tflite.writer import write_tflite
from tests.unit.graph.test_split import net

PLAN = SimpleNamespace(name="net", request=SimpleNamespace(samples=5, seed=0))
CUTS = (Cut("CPU", (0,)), Cut("Edge TPU", (1,)), Cut("CPU", (2, 3)))


def model(first="ABS"):
    """What maps is in the middle; the model's second output comes from the first part."""
    return net(
        *((first, "x", "a"), ("RELU", "a", "b"), ("ADD", "a b", "c"), ("NEG", "z", "d")),
        inputs=("z", "x"),
        outputs=("c", "a", "d"),
    )


def left(folder, graph, cuts=CUTS):
    """Return what ``leave_parts`` returns, and the files that it left."""
    shipment = Shipment("net", write_tflite(graph), graph, edgetpu_compatibility(graph))
    found, notes = leave_parts(PLAN, shipment, cuts, None, folder, lambda _: None)
    return found, notes, sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))


def changed(graph, word, **changes):
    """Return the graph with another tensor of that name."""
    tensors = {i: replace(t, **changes) if t.name == word else t for i, t in graph.tensors.items()}
    return graph.replace(tensors=tensors)


def test_parts_and_how_they_join(tmp_path):
    found, notes, files = left(tmp_path, model())
    assert notes == ()
    assert files == ["parts/1_cpu.tflite", "parts/2_edgetpu.tflite", "parts/3_cpu.tflite"]
    assert [part.file for part in found.parts] == files
    assert [part.runs_on for part in found.parts] == ["CPU", "Edge TPU", "CPU"]
    assert [part.operators for part in found.parts] == [(0,), (1,), (2, 3)]
    assert [part.inputs for part in found.parts] == [
        (Feed("x", 0, 1),),
        (Feed("a", 1, 0),),
        (Feed("z", 0, 0), Feed("a", 1, 0), Feed("b", 2, 0)),
    ]
    assert [part.outputs for part in found.parts] == [("a",), ("b",), ("c", "d")]
    assert found.outputs == (Feed("c", 3, 0), Feed("a", 1, 0), Feed("d", 3, 1))
    assert found.summary() == "3 (operators: 1 on the Edge TPU, 3 on the CPU), checked on 5 samples"
    for part in found.parts:
        graph = read_tflite_file(tmp_path / part.file)
        assert [t.name for t in graph.input_tensors] == [feed.tensor for feed in part.inputs]
        assert [t.name for t in graph.output_tensors] == list(part.outputs)


def test_no_cuts_no_folder(tmp_path):
    assert left(tmp_path, model(), ()) == (None, (), [])


def shared_variable():
    graph = net(
        *(("ADD", "x s", "a"), ("RELU", "a", "b"), ("ADD", "b s", "c"), ("NEG", "c", "d")),
        outputs=("d",),
        constants=("s",),
    )
    return changed(graph, "s", data=None, is_variable=True)


def output_that_is_an_input():
    graph = model()
    return graph.replace(outputs=(*graph.outputs, graph.inputs[0]))


def dead_operator():
    return net(
        *(("ABS", "x", "a"), ("RELU", "x", "b"), ("ADD", "a a", "c"), ("NEG", "c", "d")),
        outputs=("d",),
    )


def constant_operator():
    return net(
        *(("NEG", "k", "a"), ("RELU", "a", "b"), ("ADD", "x b", "c"), ("NEG", "c", "d")),
        outputs=("d",),
        constants=("k",),
    )


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (model().replace(others=(model(),)), "the model has 2 subgraphs"),
        (changed(model(), "b", stored=True), "the values of tensor 'b' (int8) are not read"),
        (changed(model(), "b", dtype=DType.STRING), "tensor 'b' (string) are not read"),
        (changed(model(), "b", dtype=DType.FLOAT16), "'b', which goes into or out of a part, is"),
        (changed(model(), "z", dtype=DType.UINT32), "'z', which goes into or out of a part, is"),
        (model("STABLEHLO_PAD"), "the options of STABLEHLO_PAD (operator 0) are not read"),
        (model("RANDOM_UNIFORM"), "RANDOM_UNIFORM (operator 0) draws random numbers"),
        (shared_variable(), "several parts would share the variable 's'"),
        (output_that_is_an_input(), "no operator makes the model's output 'z'"),
        (dead_operator(), "part 2 has no outputs"),
        (constant_operator(), "part 1 has no inputs"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_a_model_that_cannot_be_cut_is_left_whole(tmp_path, monkeypatch, graph, reason):
    # Nothing is written or run before the model is known to be one that can be.
    monkeypatch.setattr(parts_module, "litert_outputs", None)
    shipment = Shipment("net", b"", graph, edgetpu_compatibility(model()))
    found, (note,) = leave_parts(PLAN, shipment, CUTS, None, tmp_path, lambda _: None)
    assert found is None and note.startswith("not cut into parts: ") and reason in note
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_litert_does_not_run_is_left_whole(tmp_path):
    found, (note,), files = left(tmp_path, model("CUSTOM mine"))
    assert (found, files) == (None, [])
    assert note.startswith("not cut into parts: LiteRT cannot run the model: ")
    assert "mine" in note


def test_a_shape_that_only_a_run_tells_leaves_the_model_whole(tmp_path):
    """RESHAPE makes two rows of what the file says is one."""
    graph = net(
        *(("NEG", "x", "a"), ("RELU", "a", "b"), ("ADD", "b b", "c"), ("NEG", "c", "d")),
        outputs=("d",),
    )
    shape = np.array([2, 8], np.int32)
    index = len(graph.tensors)
    rows = Tensor(index, "shape", (2,), DType.INT32, data=shape)
    first = Op("RESHAPE", (*graph.ops[0].inputs, index), graph.ops[0].outputs)
    graph = graph.replace(ops=(first, *graph.ops[1:]), tensors={**graph.tensors, index: rows})
    found, (note,), files = left(tmp_path, changed(graph, "a", shape=(1, 16)))
    assert (found, files) == (None, [])
    assert "tensor 'a' has the shape [2, 8] when the model runs, [1, 16] in the file" in note


def test_other_outputs_than_the_whole_model_s_are_a_bug(tmp_path, monkeypatch):
    """Parts with another zero point compute something else."""

    def wrong(graph):
        last = graph.outputs[0]
        tensor = graph.tensors[last]
        other = replace(tensor, quantization=replace(tensor.quantization, zero_points=(4,)))
        return write_tflite(graph.replace(tensors={**graph.tensors, last: other}))

    monkeypatch.setattr(parts_module, "write_tflite", wrong)
    with pytest.raises(InternalError, match="net: the parts do not give the whole") as caught:
        left(tmp_path, model())
    assert any("output 'c':" in line and "bytes differ" in line for line in caught.value.details)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_litert_does_not_run_is_a_bug(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "write_tflite", lambda _: b"nothing")
    with pytest.raises(InternalError, match=r"whole model but not parts/1_cpu\.tflite"):
        left(tmp_path, model())
    assert list(tmp_path.iterdir()) == []
