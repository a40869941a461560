"""Passes leave results as they are and say truly whether they changed anything."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.errors import ModelError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.passes import DEFAULT_PASSES, FoldConstants, PassResult, RemoveUnused, run_passes

Q = Quantization((0.5,), (0,))


def tensor(index, data=None):
    shape = (1, 4)
    if data is not None:
        data = np.array(data, np.int8).reshape(shape)
    return Tensor(index, f"t{index}", shape, DType.INT8, Q, data)


def graph(ops, tensors, outputs):
    return Graph("g", (0,), outputs, tuple(ops), {t.index: t for t in tensors})


def test_folds_an_operator_on_constants():
    ops = [Op("RELU", (1,), (2,)), Op("ADD", (0, 2), (3,), {"fused_activation_function": "NONE"})]
    before = graph(ops, [tensor(0), tensor(1, [-4, 3, 0, 9]), tensor(2), tensor(3)], (3,))
    result = FoldConstants().apply(before)
    assert result.changed
    assert [op.kind for op in result.graph.ops] == ["ADD"]
    assert result.graph.tensors[2].data.tolist() == [[0, 3, 0, 9]]
    assert result.notes == ("RELU (operator 0) computed at build time",)


def test_nothing_to_fold():
    before = graph([Op("RELU", (0,), (1,))], [tensor(0), tensor(1)], (1,))
    result = FoldConstants().apply(before)
    assert not result.changed
    assert result.graph is before


def test_a_model_output_is_not_folded():
    ops = [Op("RELU", (1,), (2,)), Op("RELU", (0,), (3,))]
    before = graph(ops, [tensor(0), tensor(1, [1, 2, 3, 4]), tensor(2), tensor(3)], (2, 3))
    assert not FoldConstants().apply(before).changed


def test_removes_what_nothing_reads():
    ops = [Op("RELU", (0,), (1,)), Op("TANH", (0,), (2,), source_index=1)]
    before = graph(ops, [tensor(0), tensor(1), tensor(2), tensor(9, [1, 2, 3, 4])], (1,))
    result = RemoveUnused().apply(before)
    assert result.changed
    assert [op.kind for op in result.graph.ops] == ["RELU"]
    assert set(result.graph.tensors) == {0, 1}
    assert not RemoveUnused().apply(result.graph).changed


def test_default_passes_keep_notes():
    ops = [Op("RELU", (0,), (1,)), Op("TANH", (0,), (2,), source_index=1)]
    before = graph(ops, [tensor(0), tensor(1), tensor(2)], (1,))
    result = run_passes(before, DEFAULT_PASSES)
    assert result.changed
    assert result.notes == ("remove_unused: TANH (operator 1) has no effect on the outputs",)


def test_a_broken_pass_is_named():
    class Break:
        name = "break_it"

        def apply(self, before: Graph) -> PassResult:
            return PassResult(before.replace(ops=()), changed=True)

    before = graph([Op("RELU", (0,), (1,))], [tensor(0), tensor(1)], (1,))
    with pytest.raises(ModelError, match=r"after 'break_it'.*nothing writes the model output"):
        run_passes(before, [Break()])
