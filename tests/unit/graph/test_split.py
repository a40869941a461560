"""Graphs that are cut into graphs: who reads and writes what, and the same bytes in the end."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from edgebuild.delegates.base import partition_nodes
from edgebuild.delegates.edgetpu import around_mapped, edgetpu_compatibility
from edgebuild.errors import InternalError
from edgebuild.graph import ABSENT, DType, Graph, Op, Quantization, Tensor
from edgebuild.graph.split import split_graph
from edgebuild.graph.verify import verify
from edgebuild.models.float_tflite import run_litert
from edgebuild.tflite.reader import read_tflite, read_tflite_file
from edgebuild.tflite.writer import write_tflite
from edgebuild.verification import make_samples, stack_samples
from tests.unit.coral.pairs import PAIRS, graph_of

Q = Quantization((0.1,), (3,))
SHAPE = (1, 2, 2, 4)
UNARY = ("RELU", "ABS", "TANH", "NEG")


def net(*ops, inputs=("x",), outputs=(), constants=()):
    """Return a graph of ``(kind, inputs, outputs)``, tensors given as words."""
    words = [*inputs, *constants]
    words += [w for _, read, made in ops for w in (read + " " + made).split() if w != "-"]
    index = {word: i for i, word in enumerate(dict.fromkeys(words))}
    data = np.arange(16, dtype=np.int8).reshape(SHAPE)
    tensors = {
        i: Tensor(i, word, SHAPE, DType.INT8, Q, data if word in constants else None)
        for word, i in index.items()
    }
    index["-"] = ABSENT

    def places(text):
        return tuple(index[word] for word in text.split())

    made = tuple(
        Op(kind, places(read), places(written), source_index=n)
        for n, (kind, read, written) in enumerate(ops)
    )
    ends = (tuple(index[word] for word in end) for end in (inputs, outputs))
    graph = Graph("net", *ends, made, tensors)
    verify(graph)
    return graph


def ends(part):
    """Return the names of a part's inputs and outputs."""
    return tuple(
        " ".join(t.name for t in tensors) for tensors in (part.input_tensors, part.output_tensors)
    )


def joined(graph, parts, arrays):
    """Run the parts, as they are written, one after the other."""
    values = dict(zip(graph.inputs, arrays, strict=True))
    for part in parts:
        content = write_tflite(part)
        assert read_tflite(content).ops
        found = run_litert(content, [values[i] for i in part.inputs], xnnpack=False)
        values.update(zip(part.outputs, found, strict=True))
    return [values[i] for i in graph.outputs]


def assert_same(graph, model, groups, *, samples=3):
    """The parts are valid graphs, and give the bytes of ``model``."""
    parts = split_graph(graph, groups)
    for part in parts:
        verify(part)
    arrays = stack_samples(graph, make_samples(graph, samples, seed=1))
    whole = run_litert(model, arrays, xnnpack=False)
    for ours, theirs in zip(joined(graph, parts, arrays), whole, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes()
    return parts


def diamond():
    """ABS stays on the CPU, beside TANH."""
    return net(
        *(("RELU", "x", "a"), ("ABS", "a", "side"), ("TANH", "a", "b"), ("ADD", "side b", "y")),
        outputs=("y",),
    )


def test_a_side_branch_leaves_what_maps_in_one_part():
    graph = diamond()
    groups = around_mapped(graph, [True, False, True, False])
    assert groups == [(True, (0, 2)), (False, (1, 3))]
    mapped, rest = split_graph(graph, [positions for _, positions in groups])
    assert ends(mapped) == ("x", "a b")
    assert ends(rest) == ("a b", "y")
    assert [op.kind for op in rest.ops] == ["ABS", "ADD"]
    assert mapped.tensors[mapped.outputs[0]] is graph.tensors[mapped.outputs[0]]


def test_what_nothing_mapped_waits_for_goes_to_the_end():
    """NEG could run first, as ABS has to."""
    graph = net(
        *(("NEG", "x", "late"), ("ABS", "x", "a"), ("RELU", "a", "b"), ("ADD", "late b", "y")),
        outputs=("y",),
    )
    groups = around_mapped(graph, [False, False, True, False])
    assert groups == [(False, (1,)), (True, (2,)), (False, (0, 3))]
    front, mapped, rest = split_graph(graph, [positions for _, positions in groups])
    assert [ends(part) for part in (front, mapped)] == [("x", "a"), ("a", "b")]
    assert ends(rest) == ("x b", "y")


def test_groups_without_operators_are_left_out():
    graph = net(("ABS", "x", "a"), ("RELU", "a", "y"), outputs=("y",))
    assert around_mapped(graph, [False, True]) == [(False, (0,)), (True, (1,))]
    assert around_mapped(graph, [True, False]) == [(True, (0,)), (False, (1,))]
    assert around_mapped(graph, [True, True]) == [(True, (0, 1))]
    assert around_mapped(graph, [False, False]) == [(False, (0, 1))]


def test_inputs_and_outputs_are_in_the_model_s_order():
    """Inputs in the model's order, not in that of reading; z goes to both parts, n to none."""
    graph = net(
        *(("ADD", "z x", "a"), ("ADD", "z y", "b"), ("ADD", "b z", "c"), ("ADD", "a c", "d")),
        inputs=("x", "y", "z", "n"),
        outputs=("d", "b", "a"),
    )
    first, second = split_graph(graph, [(0, 1), (2, 3)])
    assert ends(first) == ("x y z", "a b")
    assert ends(second) == ("z a b", "d")
    read = graph.replace(inputs=graph.inputs[:3])
    assert_same(read, write_tflite(read), [(0,), (1,), (2, 3)])


def test_an_output_in_the_middle_is_read_on():
    graph = net(("RELU", "x", "a"), ("TANH", "a", "b"), ("ABS", "a", "y"), outputs=("y", "a"))
    first, second = split_graph(graph, [(0, 1), (2,)])
    assert ends(first) == ("x", "a")  # nothing reads b
    assert ends(second) == ("a", "y")


def test_constants_go_only_where_they_are_read():
    graph = net(
        *(("ADD", "x k", "a"), ("ADD", "a k", "b"), ("ADD", "b only", "y")),
        outputs=("y",),
        constants=("k", "only"),
    )
    parts = assert_same(graph, write_tflite(graph), [(0,), (1,), (2,)])
    held = [{t.name for t in part.tensors.values() if t.is_constant} for part in parts]
    assert held == [{"k"}, {"k"}, {"only"}]


def test_absent_inputs_intermediates_and_variables_stay_inside():
    graph = net(("LSTM", "x - state", "a"), ("ABS", "a", "y"), outputs=("y",), constants=("state",))
    inner = Tensor(9, "inner", (), DType.INT8, Q)
    (state,) = (t for t in graph.tensors.values() if t.name == "state")
    variable = replace(state, data=None, is_variable=True)
    graph = graph.replace(
        tensors={**graph.tensors, 9: inner, state.index: variable},
        ops=(replace(graph.ops[0], intermediates=(9, ABSENT)), graph.ops[1]),
    )
    first, second = split_graph(graph, [(0,), (1,)])
    assert ends(first) == ("x", "a")
    assert first.ops[0] is graph.ops[0]
    assert {t.name for t in first.tensors.values()} == {"x", "a", "inner", "state"}
    assert {t.name for t in second.tensors.values()} == {"a", "y"}


@pytest.mark.parametrize("groups", [[(0, 1), (3,)], [(0, 1), (1, 2, 3)], [(0, 1), (2, 3, 4)]])
def test_each_operator_is_in_one_part(groups):
    with pytest.raises(InternalError, match="the parts do not hold each operator once"):
        split_graph(diamond(), groups)


@pytest.mark.parametrize("groups", [[(1, 2, 3), (0,)], [(1, 0), (2, 3)]])
def test_parts_are_in_an_order_in_which_they_can_run(groups):
    with pytest.raises(InternalError, match=r"ABS \(operator 1\) of part 1 reads 'a' before"):
        split_graph(diamond(), groups)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_give_the_same_bytes(seed):
    """Any graph, cut in any way in which a delegate would part it."""
    rng = random.Random(seed)
    names = ["x", "z"]
    ops = []
    for n in range(12):
        kind = rng.choice((*UNARY[:3], "ADD", "ADD"))
        read = rng.choices([*names, "k"] if kind == "ADD" else names, k=1 + (kind == "ADD"))
        if read == ["k", "k"]:
            read = ["k", "x"]
        ops.append((kind, " ".join(read), f"t{n}"))
        names.append(f"t{n}")
    unread = [f"t{n}" for n in range(12) if not any(f"t{n}" in op[1].split() for op in ops)]
    outputs = tuple(dict.fromkeys([*unread, *rng.sample(names[2:], 2)]))
    graph = net(*ops, inputs=("x", "z"), outputs=outputs, constants=("k",))
    fixed = {"RELU": Quantization((0.1,), (3,)), "TANH": Quantization((1 / 128,), (0,))}
    tensors = dict(graph.tensors)
    for op in graph.ops:
        if op.kind in fixed:
            i = op.outputs[0]
            tensors[i] = replace(tensors[i], quantization=fixed[op.kind])
    graph = graph.replace(tensors=tensors)
    parts = partition_nodes(graph, [rng.random() < 0.6 for _ in ops])
    assert_same(graph, write_tflite(graph), [positions for _, positions in parts])


@pytest.mark.models
@pytest.mark.parametrize("name", PAIRS)
def test_models_for_the_edge_tpu_in_parts(public_coral_dir, name):
    """What maps, by itself, maps whole; the parts give the model's bytes."""
    graph, model = (
        graph_of(public_coral_dir, name),
        (public_coral_dir / f"{name}.tflite").read_bytes(),
    )
    taken = [verdict.delegated for verdict in edgetpu_compatibility(graph).verdicts]
    groups = around_mapped(graph, taken)
    parts = assert_same(graph, model, [positions for _, positions in groups])
    (mapped,) = (part for (is_mapped, _), part in zip(groups, parts, strict=True) if is_mapped)
    assert edgetpu_compatibility(mapped).fallbacks == ()


@pytest.mark.models
@pytest.mark.parametrize("name", PAIRS)
def test_models_for_the_edge_tpu_cut_anywhere(public_coral_dir, name):
    graph, model = (
        graph_of(public_coral_dir, name),
        (public_coral_dir / f"{name}.tflite").read_bytes(),
    )
    assert_cut_anywhere(graph, model)


@pytest.mark.parametrize(
    "name", ["ad01_int8", "kws_int8", "resnet8_int8", "vww96_int8", "kws_float"]
)
def test_models_for_microcontrollers_cut_anywhere(mlperf_dir, name):
    path = mlperf_dir / f"{name}.tflite"
    assert_cut_anywhere(read_tflite_file(path), path.read_bytes())


def assert_cut_anywhere(graph, model):
    """Cut in two at a place, and as a delegate that takes some operators would."""
    rng = random.Random(len(graph.ops))
    every = range(len(graph.ops))
    place = rng.choice(every[1:])
    assert_same(graph, model, [tuple(every[:place]), tuple(every[place:])])
    parts = partition_nodes(graph, [rng.random() < 0.8 for _ in every])
    assert_same(graph, model, [positions for _, positions in parts])
