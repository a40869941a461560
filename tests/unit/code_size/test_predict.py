"""Code whose size is known without a compiler: the tables are those of the sources, and add up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgebuild.backends.accounting import footprint
from edgebuild.backends.cortex_m import CortexMBackend
from edgebuild.backends.emit import LIBRARY, emit_library
from edgebuild.code_size import Part, predict_code
from edgebuild.code_size.features import FEATURES, features, table_bytes
from edgebuild.code_size.fingerprint import sources_sha256
from edgebuild.code_size.predict import DATA, UNKNOWN_KERNEL_BYTES, load_sizes, piece_name
from edgebuild.cycles.kernels import kernel_name
from edgebuild.ops import OPS
from edgebuild.passes import supported_graph
from edgebuild.profile import CORES
from edgebuild.targets import list_targets, load_target
from edgebuild.tflite.reader import read_tflite
from edgebuild.toolchain import InputSection, find_toolchain
from edgebuild.toolchain.zig import ZigToolchain
from tests.small import small_model

ROOT = Path(__file__).resolve().parents[3]
AGAIN = "run benchmarks/measure_code.py"
TOOLS = ("zig", "zig -Os", "gcc", "gcc -Os")


@pytest.fixture(scope="module")
def emitted():
    graph = supported_graph(read_tflite(small_model(), name="small", where=""), where="").graph
    return emit_library(graph, "small", CORES["cortex-m4"])


def predict(emitted, tool="zig", core="cortex-m4", port="cmsdk_uart"):
    return predict_code(
        *(emitted.graph, emitted.calls, emitted.plan, emitted.name), core=core, port=port, tool=tool
    )


@pytest.mark.parametrize("core", CORES)
def test_what_was_measured_is_what_is_compiled(core):
    assert json.loads((DATA / f"{core}.json").read_text())["sources_sha256"] == sources_sha256(), (
        AGAIN
    )
    found = load_sizes(core)
    assert set(found) == set(TOOLS)
    for tool in ("zig", "zig -Os"):
        assert found[tool].compiler == find_toolchain("zig").version(), AGAIN


@pytest.mark.parametrize("core", CORES)
def test_every_kernel_and_every_port_of_a_shipped_board_was_measured(core):
    calls = [
        operator.kernel(case.graph.node(0), CORES[core])
        for operator in OPS.values()
        for case in operator.cases()
    ]
    ports = {t.firmware.port for t in list_targets() if t.firmware and t.cpu.core == core}
    for measured in load_sizes(core).values():
        assert {kernel_name(call) for call in calls} <= set(measured.kernels)
        assert {c.params_type for c in calls if c.params_type} <= set(measured.parameters)
        assert ports <= set(measured.ports)
        assert set(measured.model) <= set(FEATURES)
        used = {piece for pieces in measured.kernels.values() for piece in pieces}
        assert used | set(measured.every) == set(measured.pieces)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize("tool", ["zig", "zig -Os"])
def test_a_linked_image_is_within_the_bounds(tmp_path, core, tool):
    graph = supported_graph(read_tflite(small_model(), name="small", where=""), where="").graph
    target = load_target(core)
    emitted = emit_library(graph, "small", target.cpu.features)
    image = CortexMBackend().compile(emitted, target, tool, tmp_path, lambda _: None).image
    parts = footprint(image, "small", LIBRARY)
    told = predict(emitted, tool, core)
    assert told.kernels.low == told.kernels.high
    assert told.model.low <= parts.code + parts.runtime <= told.model.high
    assert told.model.high < 1.05 * told.model.low
    stored = sum(section.size for section in image.sections if section.in_flash)
    known = stored - parts.model_flash
    assert told.application.low - 16 <= known <= told.application.high + 16


def test_a_kernel_that_is_used_twice_is_there_once(emitted):
    graph = emitted.graph
    twice = graph.replace(ops=(*graph.ops, dataclasses.replace(graph.ops[-1])))
    calls = (*emitted.calls, emitted.calls[-1])
    told = predict_code(
        *(twice, calls, emitted.plan, "small"), core="cortex-m4", port="cmsdk_uart", tool="zig"
    )
    once = predict(emitted)
    assert told.kernels == once.kernels
    assert told.layers.value > once.layers.value


def test_what_was_not_measured_has_wide_bounds(emitted, monkeypatch):
    call = dataclasses.replace(emitted.calls[-1], function="eb_new_kernel")
    odd = dataclasses.replace(emitted, calls=(*emitted.calls[:-1], call))
    least, likely, most = UNKNOWN_KERNEL_BYTES
    there = emitted.calls[-2]
    again = dataclasses.replace(call, function=there.function, sources=there.sources)
    known = predict(dataclasses.replace(emitted, calls=(*emitted.calls[:-1], again)))
    found = predict(odd).kernels
    assert (found.low, found.value, found.high) == (
        *(known.kernels.value + size for size in (least, likely, most)),
    )
    own = predict(emitted, port="port_of_a_user")
    assert own.application.low < predict(emitted).application.low < own.application.high
    monkeypatch.setattr(ZigToolchain, "version", lambda _: "zig 99")
    other = predict(emitted)
    assert other.compiler == "zig 99"
    assert other.model.low < 0.85 * other.model.value < 1.15 * other.model.value < other.model.high


def test_features_count_calls_and_pointers(emitted):
    found = features(emitted.graph, emitted.calls, emitted.plan, "small")
    assert (found["model"], found["call"], found["input or output"]) == (1, 4, 2)
    constants = sum(call.params_type is not None for call in emitted.calls if not call.view)
    assert found["constant"] == constants == 4
    assert found["split arena"] == 0
    assert table_bytes(emitted.graph) == 2 * 24 + 4 * (4 + 2)


@pytest.mark.parametrize(
    ("object_file", "section", "name"),
    [
        ("obj/lib/edgebuild/pad/pad.o", ".text.eb_pad", "pad:.text.eb_pad"),
        ("obj/startup/libc.o", ".text.memcpy", "libc:.text.memcpy"),
        ("libgcc.a(_divdi3.o)", ".text", "_divdi3.o:.text"),
        ("libcompiler_rt.a(x/compiler_rt.o)", ".text.lmul", "runtime:.text.lmul"),
        ("obj/lib/small.o", ".text.small_run", ""),
        ("obj/app/eb_app.o", ".text.main", ""),
    ],
)
def test_pieces_have_names_that_do_not_depend_on_folders(object_file, section, name):
    assert piece_name(InputSection(0, 4, object_file, section)) == name


def test_the_bounds_hold_for_models_that_were_not_measured():
    """The figures that the documentation gives are those of the benchmark."""
    found = json.loads((ROOT / "benchmarks" / "code_sizes.json").read_text())
    assert found["models"] == len(found["rows"]) >= 150 and found["outside"] == 0
    text = (ROOT / "docs" / "code-size.md").read_text()
    assert f"{found['models']} models" in " ".join(text.split())
    for tool in TOOLS:
        rows = [row for row in found["rows"] if row["tool"] == tool]
        worst = max(abs(row["error"]) for row in rows)
        most = max(abs(row["error_bytes"]) for row in rows)
        label = tool if " " in tool else f"{tool} -O2"
        assert f"| {label} | {len(rows)} |" in text and f"| {worst:.2%} | {most} |" in text


def test_parts_add_up():
    assert Part(1, 2, 3) + Part(10, 20, 30) == Part(11, 22, 33)
