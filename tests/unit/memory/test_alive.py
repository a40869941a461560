"""What is alive while an operator runs, by its kernel: as a plan of the whole graph has it."""

import numpy as np
import pytest

from edgebuild.memory import Alive, plan_memory
from edgebuild.ops import OPS
from edgebuild.ops.bands import in_bands
from edgebuild.profile import CORES, Optimize
from edgebuild.schedule import schedule_graph
from tests.chains import chained

CPU = CORES["cortex-m4"]


def assert_as_planned(graph, calls, position, call):
    """``call`` runs operators from ``position`` on, ``calls`` all others."""
    behind = calls[position + call.operators :]
    whole = [*calls[:position], call, *behind]
    plan = plan_memory(in_bands(graph, whole), whole)
    assert Alive(graph, calls).during(position, call) == plan.live_bytes[position]


@pytest.fixture
def residual(bench):
    """Layers whose kernels take scratch memory, work in place or overlap, with a shortcut."""
    make = bench.Layers(5)
    shape = (1, 16, 16, 8)
    layers = [make.conv(shape, 8, (3, 3)), make.unary("LOGISTIC", shape), make.depthwise(shape)]
    return chained(
        [*layers, make.conv(shape, 8, (1, 1)), make.binary("ADD", shape, shape)], shortcut=True
    )


@pytest.mark.parametrize("kind", sorted(OPS))
def test_each_operator(kind):
    for case in list(OPS[kind].cases())[:8]:
        options = [OPS[node.kind].candidates(node, CPU) for node in case.graph.nodes()]
        calls = [found[0] for found in options]
        for position, found in enumerate(options):
            for call in found:
                assert_as_planned(case.graph, calls, position, call)


def test_each_kernel_of_a_chain(residual):
    options = [OPS[node.kind].candidates(node, CPU) for node in residual.nodes()]
    rng = np.random.default_rng(3)
    for _ in range(20):
        calls = [found[rng.integers(len(found))] for found in options]
        for position, found in enumerate(options):
            for call in found:
                assert_as_planned(residual, calls, position, call)


def test_steps_in_bands(residual):
    schedule = schedule_graph(residual, CPU, Optimize.RAM)
    calls = [OPS[node.kind].kernel(node, CPU) for node in residual.nodes()]
    bands = [step for step in schedule.steps if step.option.call.operators > 1]
    assert bands
    for step in bands:
        assert_as_planned(residual, calls, step.position, step.option.call)
