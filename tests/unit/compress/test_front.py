"""Affine maps in front of a network: read, taken out, folded, made up; the network stays equal."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.compress.ptq.front import (
    fewest_steps,
    folded,
    front_of,
    inputs_to_scale,
    standard_steps,
    taken_out,
)
from edgebuild.compress.ptq.network import Network
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.models.preprocessing import Preprocessing
from edgebuild.tflite.writer import write_tflite

RNG = np.random.default_rng(0)
SPREAD = np.array([1000, 1, 0.01], np.float32)


class Builder:
    """A float network, operator by operator."""

    def __init__(self, *shape: int) -> None:
        self.tensors = {0: Tensor(0, "x", (1, *shape), DType.FLOAT32)}
        self.ops: list[Op] = []
        self.last = 0

    def constant(self, data: np.ndarray) -> int:
        index = len(self.tensors)
        array = np.asarray(data, np.float32)
        self.tensors[index] = Tensor(index, f"c{index}", array.shape, DType.FLOAT32, None, array)
        return index

    def op(self, kind: str, inputs: tuple[int, ...], shape: tuple[int, ...], **attrs: object):
        index = len(self.tensors)
        self.tensors[index] = Tensor(index, f"t{index}", (1, *shape), DType.FLOAT32)
        self.ops.append(Op(kind, inputs, (index,), attrs))
        self.last = index
        return self

    def elementwise(self, kind: str, data: np.ndarray, *, first: bool = True):
        number, shape = self.constant(data), self.tensors[self.last].shape[1:]
        inputs = (self.last, number) if first else (number, self.last)
        return self.op(kind, inputs, shape)

    def dense(self, outputs: int, weights: np.ndarray | None = None):
        count = self.tensors[self.last].shape[-1]
        given = RNG.normal(size=(outputs, count)) if weights is None else weights
        numbers = self.constant(given), self.constant(RNG.normal(size=outputs))
        return self.op("FULLY_CONNECTED", (self.last, *numbers), (outputs,))

    def conv(self, outputs: int, padding: str, *, depthwise: bool = False):
        height, width, channels = self.tensors[self.last].shape[1:]
        shape = (1, 3, 3, outputs) if depthwise else (outputs, 3, 3, channels)
        numbers = self.constant(RNG.normal(size=shape)), self.constant(RNG.normal(size=outputs))
        attrs = {"padding": padding, "stride_h": 1, "stride_w": 1}
        if depthwise:
            attrs["depth_multiplier"] = outputs // channels
        cut = 0 if padding == "SAME" else 2
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.op(kind, (self.last, *numbers), (height - cut, width - cut, outputs), **attrs)

    def network(self) -> Network:
        graph = Graph("net", (0,), (self.last,), tuple(self.ops), self.tensors)
        return Network(write_tflite(graph))


def normalization(builder: Builder) -> Builder:
    return builder.elementwise("SUB", SPREAD).elementwise("MUL", 1 / SPREAD)


def same(before: Network, after: Network, x: np.ndarray, prepared: np.ndarray | None = None):
    wanted = run_reals(before.content(), (x,))[0]
    found = run_reals(after.content(), (x if prepared is None else prepared,))[0]
    assert np.allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def values(*shape: int) -> np.ndarray:
    return (RNG.normal(size=(20, *shape, 3)) * SPREAD + SPREAD).astype(np.float32)


def test_a_front_is_read_and_taken_out():
    network = normalization(Builder(3)).dense(4).network()
    front = front_of(network, network.inputs[0])
    assert [step.kind for step in front.steps] == ["sub", "mul"]
    inner = taken_out(network, network.inputs[0], front)
    assert [op.kind for op in inner.operators] == ["FULLY_CONNECTED"]
    assert inner.original_names[inner.inputs[0]] == "x"
    x = values()
    prepared = Preprocessing({0: front.steps}).apply((x,))[0]
    same(network, inner, x, prepared)
    assert fewest_steps(x) < 1 and fewest_steps(prepared) > 60
    assert inputs_to_scale([x, prepared]) == [0]


def test_other_forms_of_a_front():
    diagonal = Builder(3).dense(3, np.diag([2.0, 3.0, 4.0])).dense(4).network()
    front = front_of(diagonal, diagonal.inputs[0])
    assert front.steps[0].values.tolist() == [2, 3, 4] and front.steps[1].kind == "add"
    turned = Builder(3).elementwise("SUB", SPREAD, first=False).dense(4).network()
    front = front_of(turned, turned.inputs[0])
    x = values()
    same(turned, taken_out(turned, 0, front), x, Preprocessing({0: front.steps}).apply((x,))[0])
    plane = Builder(5, 5, 3).elementwise("ADD", RNG.normal(size=(1, 5, 5, 3))).conv(2, "VALID")
    assert len(front_of(plane.network(), 0).steps[0].values) == 75


@pytest.mark.parametrize("builder", [Builder(3).dense(4), Builder(3).dense(3, np.ones((3, 3)))])
def test_no_front(builder):
    assert front_of(builder.network(), 0) is None


@pytest.mark.parametrize("depthwise", [False, True])
def test_folded_where_that_is_exact(depthwise):
    network = normalization(Builder(6, 6, 3)).conv(6, "VALID", depthwise=depthwise).network()
    inner = folded(network, 0, front_of(network, 0))
    assert len(inner.operators) == 1
    same(network, inner, values(6, 6))


def test_zero_padding_takes_over_a_factor_but_no_offset():
    network = normalization(Builder(6, 6, 3)).conv(6, "SAME").network()
    assert folded(network, 0, front_of(network, 0)) is None
    scaled = Builder(6, 6, 3).elementwise("MUL", 1 / SPREAD).conv(6, "SAME").network()
    same(scaled, folded(scaled, 0, front_of(scaled, 0)), values(6, 6))


@pytest.mark.parametrize(
    ("builder", "kinds"),
    [
        (Builder(3).dense(4), ["sub", "div"]),
        (Builder(6, 6, 3).conv(6, "VALID"), ["sub", "div"]),
        (Builder(6, 6, 3).conv(6, "SAME", depthwise=True), ["div"]),
    ],
)
def test_steps_made_up_from_the_data(builder, kinds):
    network = builder.network()
    x = values(*network.shape(0)[1:-1])
    steps, inner = standard_steps(network, 0, x)
    assert [step.kind for step in steps] == kinds
    prepared = Preprocessing({0: steps}).apply((x,))[0]
    assert np.abs(prepared).max() <= 1.001 and fewest_steps(prepared) > 16
    same(network, inner, x, prepared)


def test_nothing_is_made_up_where_several_layers_read_the_input():
    builder = Builder(3).dense(4)
    first, builder.last = builder.last, 0
    network = builder.dense(4).op("ADD", (first, len(builder.tensors) - 1), (4,)).network()
    assert standard_steps(network, 0, values()) is None
