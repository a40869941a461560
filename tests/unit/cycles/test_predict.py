"""Predicted cycles, held to the simulator's."""

import dataclasses
import json
import math
import operator
import time

import numpy as np
import pytest

from edgebuild.codegen.sources import kernel_sha256, paths_of
from edgebuild.cycles import predict as prediction
from edgebuild.cycles import predict_cycles
from edgebuild.cycles import weights as fits
from edgebuild.cycles.code import MOVED, PARAMETERS
from edgebuild.cycles.kernels import WORK, kernel_name
from edgebuild.cycles.weights import DATA, KernelWeights, load_weights
from edgebuild.cycles.work import Work
from edgebuild.devices.simulator.code import Ran, RunCode
from edgebuild.devices.simulator.cycles import TIMINGS, BlockCost
from edgebuild.devices.simulator.device import LayerTrace
from edgebuild.devices.simulator.trace import Block
from edgebuild.errors import InternalError
from edgebuild.figures import How
from edgebuild.ops import OPS
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.schedule import Optimize, schedule_graph
from edgebuild.targets import load_target
from edgebuild.tflite.reader import read_tflite, read_tflite_file
from edgebuild.toolchain import find_toolchain
from tests.small import small_model

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
REFIT = "run benchmarks/fit_cycles.py"


def small_graph(**options):
    """The small model as it is read, with every attribute."""
    return read_tflite(small_model(**options), name="small")


def predict(graph, target):
    schedule = schedule_graph(graph, target.cpu.features, target.optimize)
    return predict_cycles(schedule.graph, target, schedule.calls)


def test_every_generic_core_of_the_simulator_has_weights(bench):
    assert bench.CORES == CORES
    assert {path.stem for path in DATA.glob("*.json")} == set(CORES) == set(TIMINGS) - {"cortex-m0"}


@pytest.mark.parametrize("core", CORES)
def test_weights_are_of_todays_kernels(core):
    weights = load_weights(core)
    for name, fit in weights.kernels.items():
        assert fit.sha256 == kernel_sha256(fit.sources), f"{name}: {REFIT}"
    assert weights.toolchain == find_toolchain("zig").version(), REFIT
    assert weights.timing == TIMINGS[core].name, REFIT
    # Portable kernels run on every core, those for the DSP extension where there is one, and
    # Winograd's in plain C elsewhere.
    dsp = load_target(core).cpu.features.dsp
    known = {name for name in WORK if dsp or not name.endswith("_dsp") or "winograd" in name}
    known.add("view")
    assert set(weights.kernels) == known, REFIT


@pytest.mark.parametrize("core", CORES)
def test_weights_name_all_files_of_a_kernel(core):
    weights, cpu = load_weights(core), load_target(core).cpu.features
    graphs = [case.graph for operator in OPS.values() for case in operator.cases()]
    nodes = [graph.node(0) for graph in graphs if len(graph.ops) == 1]
    for call in (call for node in nodes for call in OPS[node.kind].candidates(node, cpu)):
        if (fit := weights.kernels.get(kernel_name(call))) is not None:
            assert set(paths_of(call)) <= set(fit.sources)


@pytest.mark.parametrize("core", CORES)
def test_every_case_of_every_operator(bench, core):
    """None of these layers was fitted to. Softmax, and floats without a unit, depend on data; some
    say that they are rough."""
    graphs = [case.graph for operator in OPS.values() for case in operator.cases()]
    graph, target = bench.side_by_side(graphs), bench.roomy(core)
    simulated = bench.layer_cycles(graph, target)
    predicted = predict(graph, target)
    assert predicted.guessed == ()
    off = []
    for layer, cycles in zip(predicted.layers, simulated, strict=True):
        loose = layer.kernel in ("softmax_s8", "quantize_f32_s8") or layer.rough
        if abs(layer.cycles - cycles) > 20 + (0.25 if loose else 0.10) * cycles:
            off.append((layer.kernel, layer.position, layer.cycles, cycles))
    assert off == [], REFIT
    assert predicted.cycles == pytest.approx(sum(simulated), rel=0.02), REFIT


@pytest.mark.parametrize(("core", "seed"), [*zip(CORES, range(5), strict=True)])
def test_random_networks(bench, random_net, core, seed):
    graph = run_passes(random_net(seed), DEFAULT_PASSES).graph
    target = load_target(core)
    run = bench.simulate(graph, target)
    predicted = predict(graph, target)
    # Rows of a band need not be aligned, which the M0+ copies byte by byte.
    assert predicted.cycles == pytest.approx(run.cycles.value, rel=0.04), REFIT
    for sample in run.layers:
        if sample.cycles > 0.01 * run.cycles.value:
            assert predicted.layers[sample.layer].cycles == pytest.approx(sample.cycles, rel=0.1)


@pytest.mark.parametrize("name", ["ad01", "kws"])
def test_real_models(bench, mlperf_dir, name):
    path = mlperf_dir / f"{name}_int8.tflite"
    graph = run_passes(read_tflite_file(path), DEFAULT_PASSES).graph
    target = load_target("cortex-m4")
    simulated = bench.simulate(graph, target).cycles.value
    assert predict(graph, target).cycles == pytest.approx(simulated, rel=0.01)


def test_the_latency_says_how_it_is_known():
    target = load_target("cortex-m4")
    found = predict(small_graph(), target)
    latency = found.latency_us
    assert latency.how == How.PREDICTED and latency.unit == "us"
    assert latency.value == pytest.approx(found.cycles / 25)
    assert latency.source.startswith("cortex-m4 zero wait states, zig 0.")
    assert latency.source.endswith(", 25 MHz")
    assert [layer.kind for layer in found.layers] == [op.kind for op in small_graph().ops]
    no_clock = dataclasses.replace(target, cpu=dataclasses.replace(target.cpu, clock_hz=None))
    assert predict(small_graph(), no_clock).latency_us is None


def test_cores_without_weights():
    assert predict(small_graph(), load_target("cortex-m55")) is None
    assert predict(small_graph(), load_target("host")) is None


def test_a_view_costs_a_copy_only_where_memory_is_not_shared():
    target, graph = load_target("cortex-m4"), small_graph()
    view = predict(graph, target).layers[2]
    assert (view.kernel, view.kind) == ("view", "RESHAPE") and view.cycles < 20
    kept = graph.replace(outputs=(*graph.outputs, 6))
    copied = predict(kept, target).layers[2]
    assert copied.kernel == "copy" and copied.cycles > 200


def test_what_is_not_known_is_guessed_and_named(monkeypatch):
    target, graph = load_target("cortex-m4"), small_graph()
    works = {name: work for name, work in WORK.items() if name != "conv2d_s8_dsp"}
    monkeypatch.setattr(prediction, "WORK", works)
    found = predict(graph, target)
    assert found.guessed == ("conv2d_s8_dsp",)
    assert found.latency_us.source.endswith(", conv2d_s8_dsp only guessed, 25 MHz")
    assert found.layers[0].cycles > prediction.CYCLES_PER_MAC * 4608


def test_a_kernel_without_weights_is_guessed(monkeypatch):
    weights = load_weights("cortex-m4")
    kernels = {k: v for k, v in weights.kernels.items() if k != "softmax_s8"}
    fewer = dataclasses.replace(weights, kernels=kernels)
    monkeypatch.setattr(prediction, "load_weights", lambda _: fewer)
    assert predict(small_graph(), load_target("cortex-m4")).guessed == ("softmax_s8",)


def test_shapes_unlike_the_fitted_ones_are_called_rough():
    weights = KernelWeights({"a": 10.0, "b": 10.0}, {"a": 0.9, "b": 0.3}, {}, 0.05, (), {}, (), "")
    assert weights.beyond({"a": 8, "b": 2}) == 0 and weights.rough({"a": 8, "b": 2}) == ""
    assert weights.beyond({"a": 5, "b": 5}) == pytest.approx(0.2)
    assert weights.rough({"a": 5, "b": 5}) == "a shape unlike those it was fitted to"
    assert weights.rough({"a": 8, "never seen": 1}) == "a part of it never ran in the fit"
    assert weights.total({"a": 8, "b": 2}) == 100
    loose = dataclasses.replace(weights, worst_error=0.11)
    assert loose.rough({"a": 8}) == "its cycles depend on the data"


def test_loops_longer_than_in_the_fit_are_rough_where_it_saw_short_ones_only():
    parts = {"x": 5.0, "x: four or more": 5.0, "x: fours": 5.0}
    counts = Work()
    counts.loop("x", 12, 100)
    rounds = {"x": 3.0}
    for fitted, rough in (({"x": 1.0}, True), ({"x": 3.0}, False), (rounds, False)):
        shares = dict.fromkeys(parts, 1.0) | {"call": 1}
        weights = KernelWeights(parts, shares, fitted, 0, (), {}, (), "")
        assert bool(weights.rough(counts.counts)) == rough


def test_a_rough_layer_is_named_where_it_matters(monkeypatch):
    """Weights that know loops only in passing."""
    weights, target = load_weights("cortex-m4"), load_target("cortex-m4")
    assert predict(small_graph(), target).rough == ()
    kernel = weights.kernels["conv2d_s8_dsp"]
    narrow = dataclasses.replace(kernel, share=dict.fromkeys(kernel.share, 0.01))
    kernels = {**weights.kernels, "conv2d_s8_dsp": narrow}
    changed = dataclasses.replace(weights, kernels=kernels)
    monkeypatch.setattr(prediction, "load_weights", lambda _: changed)
    found = predict(small_graph(), target)
    assert found.rough == ("conv2d_s8_dsp: a shape unlike those it was fitted to",)
    assert "rough (conv2d_s8_dsp: " in found.latency_us.source
    small = {**weights.kernels, "softmax_s8": dataclasses.replace(narrow, share={})}
    changed = dataclasses.replace(weights, kernels=small)
    found = predict(small_graph(), target)
    assert found.layers[-1].rough and found.rough == ()  # a thousandth of the network


def test_the_portable_form_beyond_the_dsp_kernels_limits(bench):
    target = load_target("cortex-m4")
    graph = bench.Layers().conv((1, 6, 6, 4), 6, scale=0.0002)
    (layer,) = predict(graph, target).layers
    assert layer.kernel == "conv2d_s8"
    assert layer.cycles == pytest.approx(bench.layer_cycles(graph, target)[0], rel=0.03)


def test_kernels_of_one_function_are_told_apart():
    mean = next(iter(OPS["MEAN"].cases())).graph.node(0)
    names = [
        kernel_name(OPS["MEAN"].kernel(mean, load_target(core).cpu.features))
        for core in ("cortex-m3", "cortex-m4")
    ]
    assert names == ["reduce_sum_s8", "reduce_sum_s8_dsp"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_broken_weights_are_our_own_fault(tmp_path, monkeypatch, text):
    (tmp_path / "cortex-m4.json").write_text(text)
    monkeypatch.setattr(fits, "DATA", tmp_path)
    load_weights.cache_clear()
    try:
        with pytest.raises(InternalError, match="cycle weights of cortex-m4 cannot be read"):
            load_weights("cortex-m4")
    finally:
        load_weights.cache_clear()


def test_weights_are_cycles_not_nonsense():
    for path in DATA.glob("*.json"):
        for name, fit in json.loads(path.read_text())["kernels"].items():
            assert all(0 < v < math.inf for v in fit["cycles"].values()), (path.name, name)
            assert fit["mean_error"] < 0.03 and fit["worst_error"] < 0.15, (path.name, name)
            assert all(0 <= share < 1.1 for share in fit["share"].values()), (path.name, name)
            assert set(fit["moved"]) == {*MOVED, PARAMETERS}
            for piece in fit["pieces"]:
                assert all(size > 0 and times > 0 for _, size, times, _ in piece)
                starts = [start for start, *_ in piece] + [math.inf]
                ends = [start + size for start, size, *_ in piece]
                assert all(map(operator.le, ends, starts[1:])), (path.name, name)


def test_the_sweep_of_the_fit_is_deterministic(bench):
    import fit_cycles

    target = load_target("cortex-m4")
    first, second = (fit_cycles.sweep("split", target) for _ in range(2))
    assert [g.fingerprint() for g in first] == [g.fingerprint() for g in second]
    fitted = [fit_cycles.fit("split", first[:20], target).cycles for _ in range(2)]
    assert fitted[0] == fitted[1]


def test_code_belongs_to_the_part_that_ran_as_often(bench):
    """Blocks of 20 and 8 bytes that end alike are two stretches: one jumps into the other."""
    import fit_cycles

    def layer(entries, rounds, call):
        blocks = [(100, 12, entries), (112, 20, entries), (124, 8, rounds), (4000, 6, rounds)]
        ran = [
            Ran(Block(address, size, True), count, BlockCost(1, 1, 1, 0, 0))
            for address, size, count in [*blocks, (call, 10, 1)]
        ]
        return LayerTrace(0, RunCode(tuple(ran), ()), 0)

    shapes = [(3, 10), (5, 7), (2, 40)]
    traces = [layer(*shape, 8000 + 10 * at) for at, shape in enumerate(shapes)]
    counts = np.array([(entries, rounds, entries + rounds) for entries, rounds in shapes], float)
    found = fit_cycles.code_pieces(traces, ["entry", "round", "step"], counts)
    assert found == [
        [(0, 24, 1, "entry"), (24, 8, 1, "step")],
        [(0, 6, 1, "round")],
        [(0, 10, 1, "call")],
    ]


def test_it_is_fast():
    """A search asks hundreds of times. Time of this process, as the machine may be busy."""
    target, graph = load_target("nucleo-f446re"), small_graph(side=32, channels=32)

    def once():
        start = time.process_time()
        predict(graph, target)
        return time.process_time() - start

    assert min(once() for _ in range(5)) < 0.25


def test_more_work_takes_longer():
    target = load_target("cortex-m4").optimized(Optimize.SPEED)
    cycles = [predict(small_graph(channels=c), target).cycles for c in (4, 8, 16, 24)]
    assert np.all(np.diff(cycles) > 0)
