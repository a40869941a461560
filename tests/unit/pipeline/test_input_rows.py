"""An input that comes by rows: what is built for it, and what cannot be."""

import json
import subprocess
import sys

import numpy as np
import pytest

import edgebuild
from edgebuild.backends.cortex_m import firmware_job
from edgebuild.backends.native import compile_for_host
from edgebuild.cli.main import run
from edgebuild.codegen.preprocess import preprocess_functions
from edgebuild.cycles import predict_cycles
from edgebuild.errors import CheckFailedError, InputError
from edgebuild.graph.verify import verify
from edgebuild.memory import HEADER_BYTES, plan_memory
from edgebuild.memory.alive import Alive
from edgebuild.models.preprocessing import Preprocessing, Step
from edgebuild.ops import OPS
from edgebuild.ops.support import interpret
from edgebuild.passes.input_rows import input_by_rows
from edgebuild.pipeline.combined import make_combined_plan
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.pipeline.resolve import resolve
from edgebuild.project import read_project
from edgebuild.schedule import Optimize, schedule_graph
from edgebuild.targets import CpuFeatures, load_target
from edgebuild.tflite.writer import write_tflite
from tests.chains import chained

M4 = load_target("cortex-m4").cpu.features


@pytest.fixture
def graph(bench):
    """Two convolutions of stride 2 of an image of 5,120 bytes, and a depthwise one in between."""
    make = bench.Layers(7)
    layers = make.conv((1, 40, 32, 4), 16, (3, 3), stride=(2, 2)), make.depthwise((1, 20, 16, 16))
    return chained([*layers, make.conv((1, 20, 16, 16), 8, (3, 3), stride=(2, 2))])


@pytest.fixture
def model(graph, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(graph))
    return path


def emitted(model, target="cortex-m4", **options):
    plan = make_plan(BuildRequest(model, target, input_by="rows", **options))
    return resolve(plan, lambda _: None).emitted


def test_the_input_is_an_operator_in_front(graph):
    found = input_by_rows(graph)
    verify(found, where="rows")
    first = found.node(0)
    assert first.kind == "INPUT_ROWS" and first.input(0) is graph.input_tensors[0]
    assert first.output.shape == (1, 40, 32, 4) and found.node(1).input(0) is first.output
    assert found.inputs == graph.inputs and not graph.input_by_rows
    # Models do not have it, and nothing lists it.
    assert OPS["INPUT_ROWS"].kind == "INPUT_ROWS" and "INPUT_ROWS" not in OPS
    with pytest.raises(KeyError):
        OPS["INPUT_ROW"]
    x = np.random.default_rng(1).integers(-128, 128, (1, 40, 32, 4), dtype=np.int8)
    (out,) = graph.outputs
    np.testing.assert_array_equal(interpret(found, [x])[out], interpret(graph, [x])[out])


def test_an_image_of_frames_is_made_as_they_come(bench):
    make = bench.Layers(1)
    frames = make.reshaped((1, 20, 6), (1, 20, 6, 1))
    found = input_by_rows(chained([frames, make.conv((1, 20, 6, 1), 4, (3, 3))]))
    assert [op.kind for op in found.ops] == ["INPUT_ROWS", "CONV_2D"]
    assert found.node(0).output.shape == (1, 20, 6, 1)
    # Other rows than those that come.
    other = make.reshaped((1, 20, 6), (1, 6, 20, 1))
    found = input_by_rows(chained([other, make.conv((1, 6, 20, 1), 4, (3, 3))]))
    assert [op.kind for op in found.ops] == ["INPUT_ROWS", "RESHAPE", "CONV_2D"]


def test_the_arena_holds_a_few_rows_and_their_count(graph):
    rows = input_by_rows(graph)
    whole, few = (schedule_graph(one, M4, Optimize.RAM) for one in (graph, rows))
    before, after = (plan_memory(one.graph, one.calls) for one in (whole, few))
    assert before.arena_bytes >= 40 * 32 * 4 > 1.4 * after.arena_bytes
    assert set(after.offsets) == {*graph.outputs}
    # The count lies where nothing else does.
    taken = [(start, start + size) for start, size in spans(after)]
    count = after.rows_offset
    assert count % 4 == 0 and all(count >= end or count + 4 <= at for at, end in taken)
    assert before.rows_offset is None
    # What the choice of kernels takes for alive is what the plan has.
    alone = [OPS[node.kind].kernel(node, M4) for node in rows.nodes()]
    alive = Alive(rows, alone)
    assert alive.during(0, few.calls[0]) == after.live_bytes[0]
    apart = [alive.during(at, call) for at, call in enumerate(alone)]
    assert apart == list(plan_memory(rows, alone).live_bytes)
    # A split arena counts in its header.
    split = plan_memory(few.graph, few.calls, [512, 1 << 20])
    assert len(split.bank_bytes) == 2 and split.rows_offset == HEADER_BYTES - 4


def spans(plan):
    """Yield start and size of each block but the count of rows."""
    for block in plan.blocks[:-1]:
        at = plan.offsets[block.tensors[0]] if block.tensors else None
        yield (plan.scratch_offsets[block.scratch_of] if at is None else at), block.size


def test_the_generated_c_takes_rows(model):
    made = emitted(model)
    header, source = made.files["lib/net.h"], made.files["lib/net.c"]
    assert "#define NET_ROWS 40\n#define NET_ROW_BYTES 128\n" in header
    assert "int net_push_row(void *arena, const void *row);" in header
    assert not any(name in header for name in ("net_run", "net_input(", "net_model"))
    assert "net_push_row" in source and "/* rows taken */" in source
    (note,) = (note for note in made.notes if note.startswith("input by rows"))
    assert note == (
        "input by rows: net_push_row() takes 40 rows of 128 B, the first 3 operators run as they "
        "arrive"
    )


def test_two_inputs_in_a_row_on_the_host(model, graph, tmp_path):
    device = compile_for_host(emitted(model), "zig", tmp_path, lambda _: None)
    samples = np.random.default_rng(2).integers(-128, 128, (3, 1, 40, 32, 4), np.int8)
    found = device.run_batch([samples.reshape(3, -1).view(np.uint8)])[0].view(np.int8)
    (out,) = graph.outputs
    for sample, output in zip(samples, found, strict=True):
        np.testing.assert_array_equal(output, interpret(graph, [sample])[out].reshape(-1))


def test_a_build_says_what_it_takes(model, tmp_path):
    whole, rows = (
        edgebuild.build(
            model, target="cortex-m4", optimize="ram", input_by=by, out=tmp_path / by, samples=3
        )
        for by in ("run", "rows")
    )
    assert rows.comparison.equal and rows.comparison.samples == 3
    assert rows.metrics.ram_bytes.value < 0.6 * whole.metrics.ram_bytes.value
    assert rows.memory["stack"].value <= rows.memory["stack bound"].value
    assert rows.memory["arena touched"].value <= rows.memory["arena"].value
    assert [layer.kind for layer in rows.layers] == [
        "INPUT_ROWS + CONV_2D + DEPTHWISE_CONV_2D + CONV_2D"
    ]
    made = emitted(model, optimize="ram")
    found = predict_cycles(made.graph, load_target("cortex-m4"), made.calls, made.plan)
    assert found.cycles == pytest.approx(rows.run["cycles"].value, rel=0.03)


def test_where_the_arena_holds_all_rows_a_note_says_so(bench, tmp_path):
    make = bench.Layers(2)
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(chained([make.softmax((1, 9, 8, 4), 0.1)])))
    made = emitted(path)
    assert made.calls[0].operators == 1
    assert any("but the arena holds all of them" in note for note in made.notes)


def test_the_whole_input_of_the_benchmark_must_fit(model, tmp_path):
    board = tmp_path / "small.toml"
    memory = '[[memory]]\nname = "{}"\nkind = "{}"\norigin = {:#x}\nsize = "{}"\n'
    board.write_text(
        'schema = 1\nname = "small"\nbased_on = "cortex-m4"\n'
        + memory.format("flash", "flash", 0, "512KiB")
        + memory.format("ram", "ram", 0x2000_0000, "10KiB")
    )
    with pytest.raises(CheckFailedError) as refused:
        emitted(model, str(board), optimize="ram")
    assert "the whole input for the benchmark 5,120 B" in refused.value.message
    assert "--run none" in refused.value.hint
    # Without a run the firmware has no input, and fits.
    made = emitted(model, str(board), optimize="ram", run="none")
    sources = firmware_job(made, load_target(str(board))).sources
    assert made.held_bytes == 0 and "held" not in sources["app_model.c"]
    report = edgebuild.build(
        *(model,), target=str(board), optimize="ram", input_by="rows", run="none", out=tmp_path
    )
    assert not report.violations and report.metrics.ram_bytes.value < 4096


def test_what_does_not_come_by_rows(bench, model):
    make = bench.Layers(3)
    x = (1, 8, 8, 4)
    flat = chained([make.dense((1, 64), 4)])
    with pytest.raises(InputError, match=r"\(1 x 64\) has no rows"):
        input_by_rows(flat)
    pair = make.binary("ADD", x, x)
    with pytest.raises(InputError, match="models of one input, this one has 2"):
        input_by_rows(pair)
    with pytest.raises(InputError, match="--keep-inputs and --input-by rows exclude each other"):
        make_plan(BuildRequest(model, "cortex-m4", input_by="rows", keep_inputs=True))
    with pytest.raises(InputError, match="not for android-cpu, on which LiteRT runs the model"):
        make_plan(BuildRequest(model, "android-cpu", input_by="rows"))
    with pytest.raises(InputError, match="input_by is 'columns'"):
        make_plan(BuildRequest(model, "cortex-m4", input_by="columns"))
    requests = [
        BuildRequest(model, "cortex-m4", input_by="rows"),
        BuildRequest(model, "cortex-m4", name="other", input_by="rows"),
    ]
    with pytest.raises(InputError, match="--input-by rows is for one model"):
        make_combined_plan(requests)


def test_the_prepared_values_are_those_of_a_row(graph):
    rows = input_by_rows(graph)
    by_channel = Preprocessing({0: (Step("sub", np.arange(4.0)),)})
    (whole,) = preprocess_functions(graph, by_channel, "net")
    (row,) = preprocess_functions(rows, by_channel, "net")
    assert (whole["count"], row["count"]) == (40 * 32 * 4, 32 * 4)
    by_row = Preprocessing({0: (Step("sub", np.arange(40 * 32 * 4.0)),)})
    assert preprocess_functions(graph, by_row, "net")
    with pytest.raises(InputError, match="not the same for each row"):
        preprocess_functions(rows, by_row, "net")


@pytest.mark.parametrize("cpu", [CpuFeatures(dsp=True, mve=True), CpuFeatures()])
def test_cores_of_all_kinds(graph, cpu):
    schedule = schedule_graph(input_by_rows(graph), cpu, Optimize.RAM)
    assert (schedule.calls[0].operators > 1) == (not cpu.mve)


def test_a_project_and_the_command_line_ask_for_it(model, tmp_path, capsys):
    project = tmp_path / "edgebuild.toml"
    project.write_text('model = "net.tflite"\ntargets = ["cortex-m4"]\ninput_by = "rows"\n')
    assert read_project(project).input_by == "rows"
    for arguments in ([str(project)], [str(model), "--target", "cortex-m4", "--input-by", "rows"]):
        assert run(["check", *arguments]) == 0
        assert "net_push_row() takes 40 rows" in " ".join(capsys.readouterr().out.split())
    project.write_text('model = "net.tflite"\ninput_by = "row"\n')
    with pytest.raises(InputError, match="input_by"):
        read_project(project)


def test_inspect_shows_the_step(model, capsys):
    assert run(["inspect", str(model), "--schedule", "--input-by", "rows", "--json"]) == 0
    (step,) = json.loads(capsys.readouterr().out)["schedule"]
    assert step["kind"].startswith("INPUT_ROWS + CONV_2D")
    assert step["kernel"].startswith("copy + ") and step["inputs"] == []
    assert run(["inspect", str(model), "--target", "android-cpu", "--input-by", "rows"]) == 2
    assert "on which LiteRT runs the model" in capsys.readouterr().err


@pytest.mark.parametrize("cpp", [False, True])
def test_the_header_for_the_users_own_code(model, tmp_path, cpp):
    for path, text in emitted(model).files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    own = tmp_path / f"own.{'cpp' if cpp else 'c'}"
    own.write_text(OWN)
    flags = ["-Wall", "-Wextra", "-Werror", "-Ilib", "-c", "-o", "own.o"]
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "c++" if cpp else "cc", *flags, str(own)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


OWN = """
#include "net.h"
static unsigned char arena[NET_ARENA_BYTES];
int see(const int8_t *camera);
int see(const int8_t *camera)
{
    int status = net_init(arena, sizeof arena);
    for (int row = 0; row < NET_ROWS && status == EB_OK; row++) {
        status = net_push_row(arena, camera + row * NET_ROW_BYTES);
    }
    return status == NET_DONE ? *(const int8_t *)net_output(arena, 0) : status;
}
"""
