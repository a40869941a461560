"""An input that comes row by row: the same bytes as one that is there before the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.codegen.c_library import generate_library
from edgebuild.graph import DType
from edgebuild.memory import plan_memory
from edgebuild.ops.bands import BandPlan, in_bands, joined
from edgebuild.ops.support import interpret
from edgebuild.passes.input_rows import input_by_rows
from edgebuild.schedule import Optimize, schedule_graph
from edgebuild.targets import CpuFeatures
from tests.chains import chained, wired
from tests.kernels import harness, m55
from tests.kernels.test_bands import random_step, two_branches, with_shortcut

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cycle_layers import Layers

STEPS = 40
PORTABLE, DSP = CpuFeatures(), CpuFeatures(dsp=True)

# Two instances take turns row by row: one gets two inputs, the other one the third. A row is gone
# once it was taken, and there is nothing around an arena.
_MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
{includes}
typedef struct {{
    int (*init)(void *, size_t);
    int (*push_row)(void *, const void *);
    const void *(*output)(const void *, uint32_t);
    size_t arena, rows, row, outputs;
}} model;
static const model models[] = {{ {table} }};

static void push(const model *m, void *arena, const uint8_t *input, size_t row, const uint8_t **out)
{{
    void *copy = malloc(m->row);
    memcpy(copy, input + row * m->row, m->row);
    const int status = m->push_row(arena, copy);
    free(copy);
    if (status != (row + 1U == m->rows)) exit(4);
    *out = status ? m->output(arena, 0) : NULL;
}}

int main(void)
{{
    uint32_t number;
    while (fread(&number, sizeof number, 1, stdin) == 1) {{
        const model *m = &models[number];
        const size_t bytes = m->rows * m->row;
        uint8_t *input = malloc(3U * bytes), *out = malloc(3U * m->outputs);
        if (fread(input, 1, 3U * bytes, stdin) != 3U * bytes) return 3;
        void *arenas[2];
        for (int i = 0; i < 2; i++) {{
            arenas[i] = aligned_alloc(16, (m->arena + 15U) / 16U * 16U);
            memset(arenas[i], 0xA5, m->arena);
#ifdef EB_CHECK_ARENA
            if (m->push_row(arenas[i], input) != EB_ERROR_ARENA) return 7;
#endif
            if (m->init(arenas[i], m->arena) != 0) return 2;
        }}
        const uint8_t *done;
        for (size_t n = 0; n < 2U * m->rows; n++) {{
            if (n % 2U == 0U) {{
                push(m, arenas[1], input + 2U * bytes, n / 2U, &done);
            }}
            push(m, arenas[0], input + n / m->rows * bytes, n % m->rows, &done);
            if (done != NULL) memcpy(out + n / m->rows * m->outputs, done, m->outputs);
        }}
        memcpy(out + 2U * m->outputs, m->output(arenas[1], 0), m->outputs);
        if (m->push_row(NULL, input) != EB_ERROR_NULL) return 5;
        if (m->push_row(arenas[0], NULL) != EB_ERROR_NULL) return 6;
        fwrite(out, 1, 3U * m->outputs, stdout);
        free(input); free(out); free(arenas[0]); free(arenas[1]);
    }}
    return 0;
}}
"""


def outputs(pairs, folder, flags=()):
    """Yield each graph with its outputs for three inputs, and what they should be; ``pairs`` are of
    a graph that takes rows, and its calls."""
    files, table = {}, []
    for number, (graph, calls) in enumerate(pairs):
        graph = in_bands(graph, calls)
        files.update(generate_library(graph, calls, plan_memory(graph, calls), f"m{number}"))
        n = f"M{number}"
        (out,) = graph.output_tensors
        table.append(
            f"{{ m{number}_init, m{number}_push_row, m{number}_output, {n}_ARENA_BYTES, {n}_ROWS, "
            f"{n}_ROW_BYTES, {out.nbytes} }}"
        )
    includes = "\n".join(f'#include "m{number}.h"' for number in range(len(pairs)))
    files["main.c"] = _MAIN.format(includes=includes, table=",\n".join(table))
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    sources = [path for path in files if path.endswith(".c")]
    command = [*harness.SANITIZED_GCC, *harness.WARNINGS, *flags, *sources, "-o", "program"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[:6000]
    samples = [
        harness.sample_inputs(graph, 6, number)[3:] for number, (graph, _) in enumerate(pairs)
    ]
    asked = [
        harness.Request(number, [x for sample in three for x in sample])
        for number, three in enumerate(samples)
    ]
    ran = subprocess.run(
        [str(folder / "program")], input=harness.request_bytes(asked), capture_output=True
    )
    assert ran.returncode == 0, ran.stderr.decode()[:6000]
    answers = ran.stdout
    for (graph, _), three in zip(pairs, samples, strict=True):
        (tensor,) = graph.output_tensors
        for sample in three:
            raw, answers = answers[: tensor.nbytes], answers[tensor.nbytes :]
            found = np.frombuffer(raw, tensor.dtype.numpy).reshape(tensor.shape)
            yield graph, found, interpret(graph, sample)[graph.outputs[0]]
    assert not answers


def banded(graph, cpu, height, rng=None, count=None):
    """Return calls that run the first ``count`` operators of a graph in bands, with usual kernels
    or random ones, and the others alone; None where a kernel does not take its rows."""
    count = count or len(graph.ops)
    usual = harness.usual_calls(graph, cpu)
    step = joined(graph, [graph.node(at) for at in range(count)])
    if step is None:
        return None
    plan, kernels, names = BandPlan(step, height), {}, {}
    for shape in plan.images:
        calls = {(call.function, call.sources): call for call in plan.candidates(shape, cpu)}
        every = list(calls)
        name = names.setdefault(shape[0], every[rng.integers(len(every)) if rng else 0])
        if name not in calls:
            return None
        kernels[shape] = calls[name]
    return [plan.call(kernels), *usual[count:]] if kernels else None


def check(pairs, folder, flags=()):
    for graph, found, expected in outputs(pairs, folder, flags):
        what = str([(op.kind, graph.tensors[op.outputs[0]].shape) for op in graph.ops])
        np.testing.assert_array_equal(found, expected, err_msg=what)


@pytest.mark.parametrize(
    "cpu", [PORTABLE, DSP, m55.MVE], ids=["portable", "DSP in plain C", "Helium in plain C"]
)
def test_random_steps(cpu, tmp_path):
    rng, make = np.random.default_rng(11), Layers(11)
    graphs = [input_by_rows(random_step(rng, make)) for _ in range(STEPS)]
    graphs += [input_by_rows(two_branches(make, 18, 4)), input_by_rows(with_shortcut(make))]
    pairs = []
    for graph in graphs:
        count = int(rng.integers(1, len(graph.ops) + 1))
        count = len(graph.ops) if rng.random() < 0.5 else count
        calls = banded(graph, cpu, int(rng.choice([1, 1, 2, 3, 4, 8])), rng, count)
        if calls is not None:
            pairs.append((graph, calls))
    assert len(pairs) >= 0.5 * STEPS
    check(pairs, tmp_path)


def kws(make):
    """Return the start of a keyword spotter: 49 frames of 10 features."""
    first = make.conv((1, 49, 10, 1), 16, (10, 4), stride=(2, 2))
    x = first.output_tensors[0].shape
    layers = [first, make.depthwise(x), make.conv(x, 16, (1, 1)), make.depthwise(x)]
    return chained([*layers, make.reduce("MEAN", x, (1, 2))])


def then_pool(make, *layers):
    """Return layers with a pooling behind them, so that bands of their rows save memory."""
    x = layers[-1].output_tensors[0].shape
    size = tuple(min(2, side) for side in x[1:3])
    return chained([*layers, make.pool("MAX_POOL_2D", x, size, size)])


def forked(make):
    """Return a model whose input is read by two operators, the last one among them."""
    x = (1, 12, 9, 8)
    parts = [make.conv(x, 8, (3, 3)), make.depthwise(x), make.binary("ADD", x, x)]
    return wired(parts, [[-1], [0], [1, -1]])


def shaped(make):
    """Return a model that makes an image of its frames."""
    frames = make.reshaped((1, 20, 6), (1, 20, 6, 1))
    return chained([frames, make.conv((1, 20, 6, 1), 8, (3, 3), stride=(2, 1))])


def output_too(make):
    """Return a model whose second output is its input."""
    graph = then_pool(make, make.conv((1, 9, 8, 3), 8, (3, 3)))
    return graph.replace(outputs=(*graph.inputs, *graph.outputs)[:1])


def starts(make):
    """Return models by what is special of their start."""
    image, small = (1, 17, 16, 3), (1, 8, 8, 4)

    def conv(x, channels, kernel, **options):
        return then_pool(make, make.conv(x, channels, kernel, **options))

    def then_conv(first):
        x = first.output_tensors[0].shape
        return chained([first, make.conv(x, 8, (3, 3), stride=(2, 2))])

    return {
        "same": conv(image, 16, (3, 3)),
        "valid": conv(image, 16, (3, 3), padding="VALID"),
        "stride": conv(image, 16, (3, 3), stride=(2, 2)),
        "last rows unread": conv((1, 18, 16, 3), 16, (3, 3), stride=(4, 2), padding="VALID"),
        "rows between unread": conv(image, 16, (1, 1), stride=(3, 3)),
        "5x5": conv((1, 15, 14, 4), 12, (5, 5)),
        "1x1": conv((1, 15, 14, 4), 12, (1, 1)),
        "5x1": conv((1, 20, 1, 8), 12, (5, 1)),
        "1x5": conv((1, 9, 20, 4), 12, (1, 5)),
        "one row": conv((1, 1, 20, 4), 12, (1, 5)),
        "one column": conv((1, 20, 1, 4), 12, (3, 3)),
        "two rows": conv((1, 2, 20, 4), 12, (3, 3)),
        "depthwise": then_pool(
            make, make.depthwise((1, 15, 14, 8)), make.conv((1, 15, 14, 8), 12, (1, 1))
        ),
        "average": then_conv(make.pool("AVERAGE_POOL_2D", (1, 16, 16, 4), (2, 2), (2, 2))),
        "maximum": then_conv(make.pool("MAX_POOL_2D", (1, 16, 16, 4), (3, 3), (2, 2), "SAME")),
        "mean": make.reduce("MEAN", (1, 16, 16, 8), (1, 2)),
        "table": then_conv(make.unary("LOGISTIC", (1, 16, 16, 8))),
        "float": then_conv(make.cast(DType.FLOAT32, (1, 16, 9, 4), DType.INT8)),
        "residual": with_shortcut(make),
        "forked": forked(make),
        "branches": two_branches(make, 18, 4),
        "keyword spotting": kws(make),
        "frames": shaped(make),
        # What takes the whole input at once.
        "input is output": output_too(make),
        "softmax": then_conv(make.softmax((1, 9, 8, 4), 0.1)),
        "dense": chained([make.reshaped((1, 9, 8), (1, 72)), make.dense((1, 72), 4)]),
        "moved": make.moved("TRANSPOSE", small, (0, 2, 1, 3)),
    }


WHOLE = {"input is output", "softmax", "dense", "moved"}
NARROW = {"same", "valid", "stride", "5x5", "1x1", "1x5", "depthwise", "average", "table", "float"}


@pytest.mark.parametrize(
    ("optimize", "flags"),
    [(Optimize.SPEED, []), (Optimize.SIZE, []), (Optimize.RAM, ["-DEB_CHECK_ARENA"])],
)
def test_starts_of_networks(optimize, flags, tmp_path):
    pairs, whole, narrow = [], set(), set()
    for name, graph in starts(Layers(5)).items():
        graph = input_by_rows(graph)
        schedule = schedule_graph(graph, DSP, optimize)
        schedule.verify(graph)
        pairs.append((graph, schedule.calls))
        (whole if schedule.calls[0].operators == 1 else narrow).add(name)
    assert whole >= WHOLE
    assert narrow >= (NARROW if optimize != Optimize.SIZE else {"1x1", "1x5"})
    check(pairs, tmp_path, flags)


@pytest.mark.parametrize("cpu", [PORTABLE, DSP], ids=["portable", "DSP in plain C"])
def test_an_input_that_lies_whole_in_the_arena(cpu, tmp_path):
    graphs = [input_by_rows(graph) for graph in starts(Layers(6)).values()]
    check([(graph, harness.usual_calls(graph, cpu)) for graph in graphs], tmp_path)
