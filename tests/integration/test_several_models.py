"""Several models in one firmware: linked, run and compared together, on cores, host and as C."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgebuild.backends.emit import emit_together
from edgebuild.codegen.combined import ARENA_GUARD_BYTES
from edgebuild.devices.qemu import QemuDevice
from edgebuild.devices.simulator.machine import Machine, Region
from edgebuild.graph import Op
from edgebuild.models.preprocessing import Preprocessing, Step
from edgebuild.report.combined import combined_from_json
from edgebuild.targets import CpuFeatures, load_target
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from edgebuild.toolchain import CompileJob, Image, find_toolchain, input_sections
from edgebuild.toolchain.elf import read_elf
from edgebuild.versions import JSON_SCHEMA
from tests.small import small_graph, small_model
from tests.unit.compress.conftest import blobs

MODELS = {"one": {"seed": 1}, "two": {"seed": 2, "side": 10}, "three": {"seed": 3, "channels": 4}}
KERNELS = ("eb_conv2d_s8_dsp", "eb_fully_connected_s8_dsp", "eb_softmax_s8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with ``one.tflite``, ``two.tflite`` and ``three.tflite``, which is the current
    one."""
    for name, options in MODELS.items():
        (tmp_path / f"{name}.tflite").write_bytes(small_model(name, **options))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(command, *arguments):
    code, out, err = command("build", *arguments, "--json")
    value = json.loads(out)
    assert "error" not in value, value
    return code, value, err


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_two_models_on_a_core(place, command):
    code, value, err = build(command, "one.tflite", "two.tflite", "--target", "cortex-m4")
    assert (code, err) == (0, "")
    (together,) = value["together"]
    assert together["schema"] == JSON_SCHEMA and together["name"] == "one+two"
    assert [report["name"] for report in value["reports"]] == ["one", "two"]
    folder = place / "build/one+two-cortex-m4"
    for model, alone in zip(together["models"], value["reports"], strict=True):
        assert model["comparison"]["compared_bytes"] == 80
        assert model["comparison"]["different_bytes"] == 0
        assert model["comparison"]["device"] == "simulated cortex-m4"
        assert model["metrics"]["flash_bytes"] == alone["metrics"]["flash_bytes"]
        written = json.loads((folder / model["folder"] / "report.json").read_text())
        assert written["name"] == model["name"]
    assert combined_from_json(together).to_json() == {
        key: part for key, part in together.items() if key != "cached"
    }


def test_figures_of_all_together(place, command):
    _, value, _ = build(command, "one.tflite", "two.tflite", "--target", "cortex-m4")
    (together,), alone = value["together"], value["reports"]
    flash = together["metrics"]["flash_bytes"]["value"]
    each = [report["flash"] for report in alone]
    assert flash == sum(figure["value"] for figure in together["flash"].values())
    weights = sum(parts["weights"]["value"] for parts in each) - together["borrowed_bytes"]
    assert abs(together["flash"]["weights"]["value"] - weights) <= 8  # alignment
    code = [parts["code"]["value"] for parts in each]
    assert max(code) < together["flash"]["code"]["value"] < 0.8 * sum(code)
    memory = {name: figure["value"] for name, figure in together["memory"].items()}
    arenas = [report["memory"]["arena"]["value"] for report in alone]
    assert memory["static data"] == 0  # nothing that two runs could share
    assert sum(arenas) <= memory["arena"] < sum(arenas) + 32
    assert together["metrics"]["ram_bytes"]["value"] == sum(memory.values())
    latency = [report["metrics"]["latency_us"]["value"] for report in alone]
    assert together["metrics"]["latency_us"]["value"] == pytest.approx(sum(latency))


def test_three_models_have_each_kernel_once(place, command):
    given = [f"{name}.tflite" for name in MODELS]
    code, value, _ = build(command, *given, "--target", "cortex-m4")
    assert code == 0 and len(value["together"][0]["models"]) == 3
    folder = place / "build/one+two+three-cortex-m4"
    symbols = [symbol.name for symbol in read_elf(folder / "firmware.elf").symbols]
    for kernel in KERNELS:
        assert symbols.count(kernel) == 1
    assert all(f"{name}_run" in symbols for name in MODELS)
    lines = input_sections((folder / "firmware.map").read_text())
    kernels = [s for s in lines if "lib/edgebuild/conv2d" in s.object_file and s.size]
    objects = {s.object_file.rpartition("/")[2] for s in kernels}
    assert objects == {"conv2d_s8_dsp.o", "conv2d_pairs_dsp.o"}
    assert {p for p in files(folder / "lib") if p.count("/") == 0} == {
        f"{name}{suffix}" for name in MODELS for suffix in (".c", ".h", "_weights.c", "_weights.h")
    }


@pytest.mark.parametrize("arenas", ["separate", "shared"])
def test_three_models_on_the_host(place, command, arenas):
    given = [f"{name}.tflite" for name in MODELS]
    code, value, _ = build(command, *given, "--target", "host", "--arenas", arenas)
    (together,) = value["together"]
    assert code == 0 and together["metrics"]["flash_bytes"] is None
    assert all(model["comparison"]["different_bytes"] == 0 for model in together["models"])


def test_one_arena_for_all(place, command):
    given = ("one.tflite", "two.tflite", "--target", "cortex-m4", "--arenas", "shared")
    code, value, _ = build(command, *given)
    (together,) = value["together"]
    sizes = [model["arena_bytes"] for model in together["models"]]
    assert code == 0 and together["memory"]["arena"]["value"] == max(sizes)
    assert all(model["comparison"]["different_bytes"] == 0 for model in together["models"])


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (("--run", "qemu"), "qemu-system-arm"),
        (("--run", "qemu", "--arenas", "shared"), "qemu-system-arm"),
        (("--toolchain", "gcc"), "arm-none-eabi-gcc"),
    ],
)
def test_other_tools(place, command, options, needs):
    if shutil.which(needs) is None:
        pytest.skip(f"{needs} is not installed")
    code, value, _ = build(command, "one.tflite", "two.tflite", "-t", "cortex-m4", *options)
    assert code == 0
    for model in value["together"][0]["models"]:
        assert model["comparison"]["different_bytes"] == 0


def test_equal_constants_are_stored_once(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / f"{name}.tflite").write_bytes(small_model(name))
    code, value, _ = build(command, "first.tflite", "second.tflite", "--target", "cortex-m4")
    (together,), alone = value["together"], value["reports"]
    assert code == 0
    assert together["flash"]["weights"]["value"] == alone[0]["flash"]["weights"]["value"]
    assert together["borrowed_bytes"] >= alone[0]["model"]["parameter_bytes"] - 8
    _, out, _ = command("build", "first.tflite", "second.tflite", "--target", "cortex-m4")
    assert "are equal to another model's and stored once" in out
    header = (tmp_path / "build/first+second-cortex-m4/lib/second_weights.h").read_text()
    assert "extern const int8_t first_" in header and "second_w" not in header


def test_the_summary(place, command):
    arguments = ("build", "one.tflite", "two.tflite", "--target", "cortex-m4")
    code, out, err = command(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("one+two for cortex-m4: fits\n")
    assert re.search(r"^ one alone +[\d,]+ B .* (us|ms)", out, re.MULTILINE)
    assert re.search(r"^ together +[\d,]+ B .* (us|ms)", out, re.MULTILINE)
    assert "arenas: one for each model" in out
    assert "checked together: 8 samples of each model on simulated cortex-m4" in out
    assert "written to build/one+two-cortex-m4/" in out
    code, out, _ = command(*arguments)
    assert code == 0 and "(cached" in out


def test_limits_hold_for_all_together(place, command):
    arguments = ("build", "one.tflite", "two.tflite", "--target", "cortex-m4")
    code, out, err = command(*arguments, "--max-flash", "16KiB", "--max-ram", "2200B")
    assert code == 1 and "one+two for cortex-m4: DOES NOT PASS" in out
    assert "flash budget missed by" in err and "RAM budget missed by" in err
    assert re.search(r"each model alone: one [\d,]+ B, two [\d,]+ B", err)
    assert "--arenas shared" in command(*arguments, "--max-ram", "2200B")[2]
    folder = place / "build/one+two-cortex-m4"
    assert json.loads((folder / "one/report.json").read_text())["passed"]


def test_memory_that_does_not_suffice(place, command):
    for name, options in MODELS.items():
        (place / f"{name}.tflite").write_bytes(small_model(name, **{**options, "side": 24}))
    given = [f"{name}.tflite" for name in MODELS]
    _, value, _ = build(command, *given, "--target", "cortex-m4", "--out", "roomy")
    arenas = value["together"][0]["memory"]["arena"]["value"]
    (place / "tiny.toml").write_text(
        'schema = 1\nname = "tiny"\nbased_on = "cortex-m4"\n'
        '[[memory]]\nname = "flash"\norigin = 0\nsize = "256KiB"\nkind = "flash"\n'
        f'[[memory]]\nname = "ram"\norigin = 0x20000000\nsize = "{arenas + 4000}B"\nkind = "ram"\n'
    )
    code, _, err = command("build", *given, "--target", "tiny.toml")
    assert code == 1 and "RAM of tiny is too small for all of the models" in err
    assert "one: arena " in err and "--arenas shared" in err
    assert files(place / "build") == set()
    code, _, _ = command("build", *given, "--target", "tiny.toml", "--arenas", "shared")
    assert code == 0


def odd_model() -> bytes:
    graph = small_graph()
    ops = (*graph.ops[:-1], Op("LOG_SOFTMAX", (11,), (12,)))
    return write_tflite(graph.replace(ops=ops))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one.tflite", "sub/one.tflite"), "would both be called one in the C code"),
        (("one.tflite", "one_weights.tflite"), "two of the models have a file lib/one_weights.h"),
        (("one.tflite", "two.tflite", "--name", "net"), "--name is for one model"),
        (("one.tflite", "two.tflite", "--data", "x.npz"), "--data is for one model per command"),
        (("one.tflite", "no.toml"), "no.toml"),
        (("one.tflite", "two.tflite", "--jobs", "2"), "--jobs is for a search"),
        (("one.tflite", "two.tflite", "-t", "android-cpu"), "on this target LiteRT runs models"),
        (("one.tflite", "--arenas", "shared"), "--arenas is for several models"),
        (("one.tflite", "no.tflite"), "no.tflite: no such file"),
        (("one.tflite", "bad.tflite"), "bad.tflite"),
        (("one.tflite", "odd.tflite"), "LOG_SOFTMAX"),
    ],
)
def test_refused(place, command, arguments, message):
    (place / "sub").mkdir()
    shutil.copy("one.tflite", "sub")
    shutil.copy("two.tflite", "one_weights.tflite")
    (place / "bad.tflite").write_bytes(small_model()[:100])
    (place / "odd.tflite").write_bytes(odd_model())
    code, _, err = command("build", *arguments, "--target", "cortex-m4")
    assert code == 2 and message in err and "try: " in err
    assert not (place / "build").exists() or files(place / "build") == set()


def test_what_was_built_stays_when_a_model_is_refused(place, command):
    arguments = ("build", "one.tflite", "two.tflite", "--target", "cortex-m4")
    assert command(*arguments)[0] == 0
    before = files(place / "build")
    (place / "two.tflite").write_bytes(b"no model")
    assert command(*arguments)[0] == 2
    assert files(place / "build") == before


def test_a_changed_model_alone_is_built_again(place, command):
    arguments = ("one.tflite", "two.tflite", "--target", "host")
    build(command, *arguments)
    (place / "two.tflite").write_bytes(small_model("two", seed=9))
    _, value, _ = build(command, *arguments)
    assert [report["cached"] for report in value["reports"]] == [True, False]
    assert value["together"][0]["cached"] is False
    _, value, _ = build(command, *arguments)
    assert [report["cached"] for report in value["reports"]] == [True, True]
    assert value["together"][0]["cached"] is True


def test_a_project_file_elsewhere(place, command):
    (place / "net").mkdir()
    shutil.copy("two.tflite", "net")
    (place / "net/edgebuild.toml").write_text('model = "two.tflite"\ntargets = ["host"]\n')
    code, out, _ = command("build", "net/edgebuild.toml")
    assert code == 0 and "two for host: fits" in out
    code, _, err = command("build", "one.tflite", "net/edgebuild.toml")
    assert code == 2 and "no --target given" in err


@pytest.mark.keras
def test_a_model_with_a_project_file(place, command, trained):
    (place / "net").mkdir()
    trained.save(place / "net/net.keras")
    x, y = blobs(200, seed=5)
    np.savez(place / "net/data.npz", x=x, y=y)
    (place / "net/edgebuild.toml").write_text(
        'model = "net.keras"\ndata = "data.npz"\ntargets = ["cortex-m0plus"]\nname = "classes"\n'
    )
    code, value, err = build(command, "one.tflite", "net/edgebuild.toml", "-t", "cortex-m4")
    assert (code, err) == (0, "")
    (together,) = value["together"]
    assert together["name"] == "one+classes"
    assert all(model["comparison"]["different_bytes"] == 0 for model in together["models"])
    assert value["reports"][1]["accuracy"] is not None
    assert (place / "build/one+classes-cortex-m4/classes/report.json").is_file()


def test_a_preparation_of_inputs_goes_with_its_model():
    graphs = {name: read_tflite(small_model(name), name=name) for name in ("one", "two")}
    made = emit_together(
        graphs,
        CpuFeatures(),
        shared=False,
        preprocessing={"two": Preprocessing({0: (Step("mul", np.float32([0.5])),)})},
    )
    assert "lib/two_preprocess.c" in made.files and "lib/one_preprocess.c" not in made.files
    assert [model.functions for model in made.models] == [(), ("two_preprocess",)]


@pytest.fixture
def port(place, command):
    """The serial line of the firmware with two models, in QEMU."""
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    build(command, "one.tflite", "two.tflite", "--target", "cortex-m4", "--run", "none")
    elf = place / "build/one+two-cortex-m4/firmware.elf"
    image = Image(elf, elf.with_suffix(".bin"), place, (), (), "")
    with QemuDevice(image, "mps2-an386", "eb_models").emulator() as name:
        yield name


@pytest.mark.qemu
def test_bench_checks_all_models_on_a_board(port, command):
    arguments = ("bench", "build/one+two-cortex-m4", "--port", port, "--samples", "4")
    code, out, err = command(*arguments, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert [m["comparison"]["compared_bytes"] for m in report["models"]] == [40, 40]
    assert [m["comparison"]["different_bytes"] for m in report["models"]] == [0, 0]
    assert report["metrics"]["latency_us"]["how"] == "measured"
    assert report["memory"]["stack"]["how"] == "measured"
    code, out, err = command(*arguments, "--max-latency", "1us")
    assert code == 1 and "one+two for cortex-m4: DOES NOT PASS" in out
    assert "latency budget missed by" in err


def test_what_bench_refuses_of_several(place, command):
    build(command, "one.tflite", "two.tflite", "--target", "host", "--run", "none")
    folder = "build/one+two-host"
    code, _, err = command("bench", folder, "--port", "/dev/null")
    assert code == 2 and "has no firmware" in err
    code, _, err = command("bench", folder, "--port", "/dev/null", "--runs", "5")
    assert code == 2 and "--runs is for phones" in err
    code, _, err = command("bench", folder, "--device", "all")
    assert code == 2 and "holds several models in one firmware" in err
    (place / folder / "lib/one.c").write_text("")
    code, _, err = command("bench", folder, "--port", "/dev/null")
    assert code == 2 and "lib/one.c has changed since the build" in err


# As C: what users do with lib/.

ZIG = [sys.executable, "-m", "ziglang", "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2"]


@pytest.fixture
def library(place, command):
    """The folder ``lib`` of two models for a Cortex-M4, plain C elsewhere."""
    return library_of(place, command, "one", "two")


def library_of(place, command, *names):
    given = [f"{name}.tflite" for name in names]
    build(command, *given, "--target", "cortex-m4", "--run", "host")
    return place / f"build/{'+'.join(names)}-cortex-m4/lib"


def inputs(name, count=4):
    size = read_tflite(small_model(name, **MODELS[name]), name=name).input_tensors[0].nbytes
    drawn = np.random.default_rng(7).integers(-128, 128, (count, size), dtype=np.int8)
    return [row.tobytes() for row in drawn]


def expected(place, name):
    samples = [(row,) for row in inputs(name)]
    found = run_oracle((place / f"{name}.tflite").read_bytes(), samples)
    return [sample[0] for sample in found.outputs]


def c_rows(name, rows):
    values = ["{" + ", ".join(map(str, np.frombuffer(row, np.int8))) + "}" for row in rows]
    return f"static const int8_t {name}[][{len(rows[0])}] = {{{', '.join(values)}}};\n"


def data_header(place, names=("one", "two")):
    parts = ["#include <stdint.h>\n"]
    for name in names:
        parts.append(c_rows(f"{name}_in", inputs(name)))
        parts.append(c_rows(f"{name}_out", expected(place, name)))
    return "".join(parts)


CHECK = """
#include <string.h>
#define CHECK(model, arena, n) \\
    (memcpy(model##_input(arena, 0), model##_in[n], sizeof model##_in[0]), \\
     model##_run(arena) == 0 && \\
         memcmp(model##_output(arena, 0), model##_out[n], sizeof model##_out[0]) == 0)
"""


def sketch_of(names):
    """Return a program that runs all models in turn, each on an arena of its own."""
    includes = [f'#include "src/{name}.h"' for name in names]
    arenas = [
        f"static _Alignas(16) unsigned char {name}_arena[{name.upper()}_ARENA_BYTES];"
        for name in names
    ]
    begun = " && ".join(f"{name}_init({name}_arena, sizeof {name}_arena) == 0" for name in names)
    good = " && ".join(f"CHECK({name}, {name}_arena, n)" for name in names)
    return "\n".join(
        [
            *includes,
            '#include "data.h"',
            *arenas,
            "int main(void)",
            "{",
            f"    int good = {begun};",
            "    for (int n = 0; n < 4; n++) {",
            f"        good = good && {good};",
            "    }",
            "    return good ? 0 : 1;",
            "}\n",
        ]
    )


@pytest.mark.parametrize("names", [("one", "two"), ("one", "two", "three")], ids=len)
def test_as_a_sketch(place, command, tmp_path, names):
    sketch = tmp_path / "sketch"
    shutil.copytree(library_of(place, command, *names), sketch / "src")
    (sketch / "data.h").write_text(data_header(place, names) + CHECK)
    (sketch / "sketch.c").write_text(sketch_of(names))
    # Like the Arduino builder: each file by itself, with no include path.
    objects = []
    for path in sorted(sketch.rglob("*.c")):
        objects.append(path.with_suffix(".o"))
        subprocess.run([*ZIG, "-c", str(path), "-o", str(objects[-1])], check=True, timeout=120)
    names = [path.name for path in objects]
    assert len(names) == len(set(names))  # some builders put all objects in one folder
    subprocess.run([*ZIG, *objects, "-o", sketch / "sketch"], check=True, timeout=120)
    assert subprocess.run([sketch / "sketch"], timeout=60).returncode == 0


THREADS = """
#include <pthread.h>
#include "one.h"
#include "two.h"
#include "data.h"
enum { RUNS = 3000 };
static _Alignas(16) unsigned char a[ONE_ARENA_BYTES], b[ONE_ARENA_BYTES], c[TWO_ARENA_BYTES];
static void *run_one(void *arena)
{
    for (int n = 0; n < RUNS; n++) {
        if (!CHECK(one, arena, n % 4)) {
            return arena;
        }
    }
    return NULL;
}
static void *run_two(void *arena)
{
    for (int n = 0; n < RUNS; n++) {
        if (!CHECK(two, arena, n % 4)) {
            return arena;
        }
    }
    return NULL;
}
int main(void)
{
    pthread_t threads[3];
    void *wrong[3];
    pthread_create(&threads[0], NULL, run_one, a);
    pthread_create(&threads[1], NULL, run_one, b);
    pthread_create(&threads[2], NULL, run_two, c);
    for (int n = 0; n < 3; n++) {
        pthread_join(threads[n], &wrong[n]);
    }
    return wrong[0] == NULL && wrong[1] == NULL && wrong[2] == NULL ? 0 : 1;
}
"""

SIGNALS = """
#define _GNU_SOURCE
#include <signal.h>
#include <sys/time.h>
#include "one.h"
#include "two.h"
#include "data.h"
static _Alignas(16) unsigned char a[ONE_ARENA_BYTES], b[ONE_ARENA_BYTES], c[TWO_ARENA_BYTES];
static volatile sig_atomic_t running, interrupted, wrong;
static void interrupt(int signal)
{
    (void)signal;
    if (running) {
        const int n = interrupted++ % 4;
        wrong |= !CHECK(two, c, n) || !CHECK(one, b, n);
    }
}
int main(void)
{
    const struct itimerval often = { { 0, 150 }, { 0, 150 } };
    signal(SIGALRM, interrupt);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int n = 0; n < 2000000 && interrupted < 300 && !wrong; n++) {
        memcpy(one_input(a, 0), one_in[n % 4], sizeof one_in[0]);
        running = 1;
        wrong |= one_run(a) != 0;
        running = 0;
        wrong |= memcmp(one_output(a, 0), one_out[n % 4], sizeof one_out[0]) != 0;
    }
    return wrong ? 1 : interrupted < 300 ? 2 : 0;
}
"""


@pytest.mark.parametrize("main", [THREADS, SIGNALS], ids=["threads", "signals"])
def test_instances_on_arenas_of_their_own(place, library, tmp_path, main):
    sources = {f"lib/{p}": (library / p).read_text() for p in files(library)}
    sources |= {"data.h": data_header(place) + CHECK, "main.c": main}
    job = CompileJob(sources, (".", "lib"))
    program = find_toolchain("zig").compile_program(job, tmp_path / "made")
    assert subprocess.run([program], timeout=120).returncode == 0


@pytest.mark.parametrize("after", [50, 999, 7_777, 20_000, 22_222])
def test_a_run_interrupted_by_another_models_run_on_a_core(place, command, after):
    """An interrupt's run has the stack below, and another arena; then the first run goes on."""
    arguments = ("one.tflite", "two.tflite", "--target", "cortex-m4", "--run", "host")
    _, value, _ = build(command, *arguments)
    first_bytes = value["together"][0]["models"][0]["arena_bytes"]
    regions = [
        Region(m.name, m.origin, m.size_bytes, m.kind) for m in load_target("cortex-m4").memories
    ]
    machine = Machine(place / "build/one+two-cortex-m4/firmware.elf", "cortex-m4", regions)
    code, arena, top = machine.symbol, machine.symbol("eb_arena"), machine.symbol("__stack_top")
    second = arena + -(-first_bytes // 16) * 16 + ARENA_GUARD_BYTES
    ends = machine.words(code("eb_models_model"), 11)[9:]  # input(), output()
    (*_, in_one, out_one), (*_, in_two, out_two) = (
        [machine.call(function & ~1, (arena, index), top, 10) for function in ends]
        for index in range(2)
    )
    machine.write(in_one, inputs("one")[0])
    machine.write(in_two, inputs("two")[0])
    run_two = code("two_run") & ~1

    def interrupt(stack_pointer):
        assert machine.call(run_two, (second,), stack_pointer, 10) == 0

    interrupted(machine, code("one_run") & ~1, arena, after, interrupt)
    assert machine.read(out_one, 10) == expected(place, "one")[0]
    assert machine.read(out_two, 10) == expected(place, "two")[0]


def interrupted(machine, function, arena, after, interrupt):
    """Run ``function`` on ``arena``; call ``interrupt(stack pointer)`` after so many
    instructions."""
    from unicorn import arm_const as arm

    uc = machine.uc
    uc.reg_write(arm.UC_ARM_REG_R0, arena)
    uc.reg_write(arm.UC_ARM_REG_SP, machine.symbol("__stack_top"))
    uc.reg_write(arm.UC_ARM_REG_LR, machine._return | 1)
    uc.emu_start(function | 1, machine._return, count=after)
    assert machine.register("PC") & ~1 != machine._return, "it had ended before"
    context = uc.context_save()
    interrupt((machine.register("SP") - 0x68) & ~7)  # what a core stacks, and no red zone
    uc.context_restore(context)
    uc.emu_start(machine.register("PC") | 1, machine._return)
    assert machine.register("R0") == 0


def test_names_of_one_model_are_not_another_ones():
    graphs = {
        name: read_tflite(small_model(name, **options), name=name)
        for name, options in MODELS.items()
    }
    made = emit_together(graphs, CpuFeatures(dsp=True), shared=False)
    for name in MODELS:
        text = made.files[f"lib/{name}.c"] + made.files[f"lib/{name}_weights.c"]
        defined = re.findall(r"^(?:const )?\w[\w ]*[ *](\w+)(?:\(|\[\w+\] = )", text, re.MULTILINE)
        assert defined and all(symbol.startswith(f"{name}_") for symbol in defined)
