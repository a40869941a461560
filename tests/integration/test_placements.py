"""Roles in memory regions, run for real: all bytes compared, in QEMU after the start-up code."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

import edgebuild
from edgebuild.errors import CheckFailedError, InputError
from edgebuild.pipeline.forecast import forecast
from edgebuild.pipeline.plan import BuildRequest
from edgebuild.regions import ROLES
from edgebuild.targets import load_target
from edgebuild.tflite.writer import write_tflite
from tests.small import large_graph

REGION = '[[memory]]\nname = "{}"\nkind = "{}"\norigin = {:#x}\nsize = "{}"\n'

# Parts of memories that QEMU's machines have, at their own addresses (hw/arm/mps2.c, mps2-tz.c,
# mps3r.c): block RAM, PSRAM, DTCM, internal SRAM.
BOARDS = {
    "mps2-an386": [
        ("flash", "flash", 0x0000_0000, "128KiB"),
        ("far", "flash", 0x0020_0000, "1MiB"),
        ("ram", "ram", 0x2000_0000, "64KiB"),
        ("tiny", "ram", 0x2001_0000, "640"),
        ("itcm", "ram", 0x0100_0000, "16KiB"),
        ("psram", "ram", 0x2100_0000, "1MiB"),
    ],
    "mps2-an500": [
        ("flash", "flash", 0x0000_0000, "128KiB"),
        ("far", "flash", 0x0020_0000, "1MiB"),
        ("ram", "ram", 0x2000_0000, "64KiB"),
        ("tiny", "ram", 0x2001_0000, "640"),
        ("itcm", "ram", 0x6000_0000, "16KiB"),
        ("psram", "ram", 0x6008_0000, "1MiB"),
    ],
    "mps2-an505": [
        ("flash", "flash", 0x1000_0000, "128KiB"),
        ("far", "flash", 0x1020_0000, "1MiB"),
        ("ram", "ram", 0x3800_0000, "64KiB"),
        ("tiny", "ram", 0x3801_0000, "640"),
        ("itcm", "ram", 0x3820_0000, "16KiB"),
        ("psram", "ram", 0x8000_0000, "1MiB"),
    ],
    "mps3-an547": [
        ("flash", "flash", 0x0000_0000, "128KiB"),
        ("far", "flash", 0x0004_0000, "128KiB"),
        ("ram", "ram", 0x2000_0000, "64KiB"),
        ("tiny", "ram", 0x2001_0000, "640"),
        ("itcm", "ram", 0x0100_0000, "16KiB"),
        ("psram", "ram", 0x2100_0000, "1MiB"),
    ],
}

PLACES = {
    "weights in a second flash": {"weights": "far"},
    "weights copied to RAM": {"weights": "psram"},
    "arena in a second RAM": {"arena": "psram"},
    "arena in two banks": {"arena": "tiny,psram"},
    "arena in two banks, one with the stack": {"arena": "tiny,ram"},
    "kernels copied at start-up": {"kernels": "itcm"},
    "all at once": {
        "weights": "far",
        "kernels": "itcm",
        "arena": "tiny,psram",
        "data": "psram",
    },
}


def profile(folder, board, place=(), **regions):
    """Write a profile of ``board`` with its regions and a ``[place]``; return its path."""
    lines = [f'schema = 1\nname = "board"\nbased_on = "{board}"\n']
    lines += [
        REGION.format(name, kind, origin, regions.get(name, size))
        for name, kind, origin, size in BOARDS[board]
    ]
    lines += ["[place]\n" if place else ""]
    for role, names in dict(place).items():
        quoted = ", ".join(f'"{name}"' for name in names.split(","))
        lines.append(f"{role} = [{quoted}]\n")
    path = folder / "board.toml"
    path.write_text("".join(lines))
    return f"./{path.name}"


def addresses(report, target):
    """Return the region of each symbol that ends up in the firmware, and of each section."""
    regions = load_target(target).memories

    def region(address):
        return next((m.name for m in regions if m.origin <= address < m.end), None)

    symbols = {s.name: region(s.address) for s in report.symbols if s.size}
    return symbols, {s.name: region(s.address) for s in report.sections}


def placed_roles(place):
    return {role: place.get(role, default) for role, default in DEFAULTS.items()}


def check_places(report, target, place):
    symbols, sections = addresses(report, target)
    placed = placed_roles(place)
    assert None not in sections.values()
    assert sections[".vectors"] == sections[".text"] == "flash"
    assert symbols["small_params0"] == symbols["eb_vectors"] == "flash"
    assert {v for k, v in symbols.items() if k.startswith("small_weights")} == {placed["weights"]}
    kernels = {
        region
        for s in report.symbols
        if "/edgebuild/" in s.object_file and (region := symbols[s.name])
    }
    assert kernels == {placed["kernels"]}
    assert symbols["eb_arena"] == placed["arena"].split(",")[0]
    assert sections[".bss"] == sections[".stack"] == placed["data"]
    if "," in placed["arena"]:
        assert symbols["eb_arena1"] == placed["arena"].split(",")[1]


def check_marks(report, place):
    """What was touched of the arena is counted in every bank."""
    arena, touched = (report.memory[name].value for name in ("arena", "arena touched"))
    assert 0.9 * arena < touched <= arena
    if "tiny" in place.get("arena", ""):
        assert touched > 640, "more than the first bank has"


DEFAULTS = {role: "ram" if role in ("arena", "data") else "flash" for role in ROLES}


@pytest.mark.parametrize("toolchain", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_placed_roles_are_there_and_compute_the_same(folder, place, toolchain):
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    target = profile(folder, "mps2-an386", place)
    report = edgebuild.build("small.tflite", target=target, toolchain=toolchain, samples=2)
    assert report.passed and report.comparison.device == "simulated cortex-m4"
    check_places(report, target, place)
    check_marks(report, place)
    used, metrics = report.regions, report.metrics
    kinds = {region.name: region.kind for region in load_target(target).memories}
    for kind, total in (("flash", metrics.flash_bytes), ("ram", metrics.ram_bytes)):
        assert sum(f.value for n, f in used.items() if kinds[n] == kind) == total.value
    assert set(used) == {
        name for names in placed_roles(place).values() for name in names.split(",")
    }


@pytest.mark.qemu
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="qemu-system-arm is not there")
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("kind", ["kernels copied at start-up", "all at once"])
def test_the_start_up_code_puts_everything_in_place(folder, board, kind):
    target = profile(folder, board, PLACES[kind])
    report = edgebuild.build("small.tflite", target=target, run="qemu", samples=2)
    assert report.passed and report.comparison.device == f"qemu {board}"
    check_places(report, target, PLACES[kind])
    check_marks(report, PLACES[kind])


def test_inspect_splits_the_arena_as_a_build_does(folder, command):
    target = profile(folder, "mps2-an386")
    place = ("--place", "arena=tiny,psram")
    code, out, err = command("inspect", "small.tflite", "--target", target, *place, "--json")
    assert code == 0, err
    said = json.loads(out)
    split = {"arena": ("tiny", "psram")}
    report = edgebuild.build("small.tflite", target=target, place=split, run="none")
    banks = {name: report.regions[name].value for name in ("tiny", "psram")}
    assert said["arena_banks"] == banks and said["arena_bytes"] == sum(banks.values())
    _, out, _ = command("inspect", "small.tflite", "--target", target, *place)
    assert f"split: {banks['tiny']} B in tiny, " in out
    _, out, _ = command("inspect", "small.tflite", "--target", target, "--json")
    assert json.loads(out)["arena_banks"] == {}


@pytest.mark.parametrize("toolchain", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
def test_a_model_whose_name_ends_like_its_weights(folder, toolchain):
    """Its layers stay with the code, whatever their file is called; all of its weights move."""
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    target = profile(folder, "mps2-an386", {"weights": "far"})
    report = edgebuild.build(
        "small.tflite", target=target, name="small_weights", toolchain=toolchain, samples=1
    )
    assert report.passed
    symbols, _ = addresses(report, target)
    own = {name: region for name, region in symbols.items() if name.startswith("small_weights_")}
    far = {name for name, region in own.items() if region == "far"}
    assert {name.rstrip("0123456789") for name in far} == {
        "small_weights_weights", "small_weights_channels", "small_weights_exp_table"
    }  # fmt: skip
    assert own["small_weights_params0"] == own["small_weights_inputs"] == "flash"
    assert report.regions["far"].value == report.flash["weights"].value


def test_a_flag_goes_over_the_project_file_over_the_profile(folder, command):
    target = profile(folder, "mps2-an386", {"weights": "psram", "arena": "psram"})
    (folder / "edgebuild.toml").write_text(
        f'model = "small.tflite"\ntargets = ["{target}"]\nrun = "none"\n'
        '[place]\nkernels = "itcm"\nweights = "ram"\n'
    )
    code, _, err = command("build", "--place", "weights=far", "--json")
    assert code == 0, err
    lock = json.loads((folder / "build/small-board/build.lock").read_text())
    assert lock["plan"]["target"]["place"] == {
        "arena": ["psram"],
        "kernels": ["itcm"],
        "weights": ["far"],
    }


def test_regions_that_are_not_used_are_named_where_memory_is_missed(folder, command):
    target = profile(folder, "mps2-an386", flash="12KiB")
    build = ("build", "small.tflite", "--target", target, "--toolchain", "zig")
    code, _, err = command(*build)
    err = " ".join(err.split())
    assert code == 1 and "linked with zig: too large for flash by" in err
    assert "far 1 MiB is not used: --place weights=far" in err
    assert "psram" not in err and "arena" not in err  # RAM is not short
    _, _, said = command("check", *build[1:])
    said = " ".join(said.split())
    assert said.partition("budget")[0] in err
    code, _, err = command(*build, "--place", "weights=far")
    assert code == 0, err
    with pytest.raises(CheckFailedError, match="RAM of board is too small") as caught:
        edgebuild.build("small.tflite", target=profile(folder, "mps2-an386", ram="4608"))
    assert "psram 1 MiB is not used: --place arena=psram" in caught.value.hint
    assert "far 1 MiB" not in caught.value.hint
    assert "tiny 640 B is not used: --place arena=ram,tiny" in caught.value.hint


def test_a_ram_that_only_the_linker_finds_too_small_is_refused_for_what_lies_in_it(folder, command):
    """Arena and stack fit; what the firmware itself has in RAM does not fit beside them."""
    target = profile(folder, "mps2-an386", ram="5800")
    said = {}
    for verb in ("check", "build"):
        code, _, err = command(verb, "small.tflite", "--target", target)
        said[verb] = err.splitlines()
        assert code == 1
    assert "RAM budget missed by" in said["build"][0] and "region ram" in said["build"][0]
    assert "B of weights" not in " ".join(said["build"])
    assert "psram 1 MiB is not used: --place arena=psram" in said["build"][-1]
    assert "far 1 MiB" not in said["build"][-1]
    linked = next(line for line in said["build"] if line.startswith("  linked with "))
    assert "too large for ram by" in linked
    assert [line for line in said["build"] if line != linked] == said["check"]


def test_check_names_them_too_and_agrees_with_build(folder, command):
    """A second flash and a second RAM: used when a role is placed there, named when none is."""
    target = profile(folder, "mps2-an386", flash="6KiB")
    code, _, err = command("check", "small.tflite", "--target", target)
    assert code == 1 and "far 1 MiB is not used: --place weights=far" in " ".join(err.split())
    target = profile(folder, "mps2-an386", flash="16KiB", far="4KiB")
    for verb in ("check", "build"):
        code, _, err = command(verb, "small.tflite", "--target", target, "--place", "weights=far")
        assert code == 1
        assert "region far of board is too small: weights" in " ".join(err.split())
    target = profile(folder, "mps2-an386", {"weights": "psram", "arena": "psram"}, psram="6KiB")
    code, _, err = command("check", "small.tflite", "--target", target)
    assert code == 1 and "B beside" in " ".join(err.split())


EXTERNAL = """schema = 1
name = "external"
based_on = "nucleo-h743zi"
[[memory]]
name = "flash"
kind = "flash"
origin = 0x0800_0000
size = "128KiB"
[[memory]]
name = "ram"
kind = "ram"
origin = 0x2400_0000
size = "96KiB"
[[memory]]
name = "sdram"
kind = "ram"
origin = 0xC000_0000
size = "8MiB"
[[memory]]
name = "qspi"
kind = "flash"
origin = 0x9000_0000
size = "8MiB"
"""


def test_external_memory_is_named_until_it_is_used_and_then_what_it_needs(folder, command):
    """A CNN with a larger image than RAM and more weights than flash, on a board with both."""
    (folder / "board.toml").write_text(EXTERNAL)
    (folder / "large.tflite").write_bytes(write_tflite(large_graph()))
    sdram = ("--place", "arena=sdram")
    for place, unused in (
        ((), "sdram 8 MiB is not used: --place arena=sdram"),
        (sdram, "qspi 8 MiB is not used: --place weights=qspi"),
    ):
        for verb in ("check", "build"):
            code, _, err = command(verb, "large.tflite", "--target", "./board.toml", *place)
            assert code == 1 and unused in " ".join(err.split())
    for arena in ("sdram", "ram,sdram"):
        place = {"arena": tuple(arena.split(",")), "weights": ("qspi",)}
        request = BuildRequest(folder / "large.tflite", "./board.toml", place=place)
        found = forecast(request)
        report = edgebuild.build("large.tflite", target="./board.toml", place=place, samples=1)
        assert found.passed and report.passed and report.comparison.equal
        said, known = found.metrics.flash_bytes, report.metrics.flash_bytes
        assert said.least <= known.value <= said.most
        assert report.regions["qspi"].value == report.flash["weights"].value > 128 * 1024
        assert report.regions["sdram"].value > 100_000
        assert report.memory["arena touched"].value > 96 * 1024
        for notes in (found.notes, report.notes):
            (set_up,) = [note for note in notes if "eb_memory_init()" in note]
            assert set_up.startswith("the controller of qspi (weights) and sdram (arena) must be")
            assert any("not say how fast qspi and sdram are" in note for note in notes)
    binary = folder / "build/large-external/firmware-90000000.bin"
    assert binary.stat().st_size >= report.regions["qspi"].value


@pytest.mark.parametrize(
    ("place", "sizes", "budget", "region"),
    [
        ({"kernels": "itcm"}, {"itcm": "2KiB"}, "ram", "itcm"),
        ({"weights": "far"}, {"flash": "4KiB"}, "flash", "flash"),
        ({"arena": "psram", "data": "tiny"}, {"tiny": "5KiB", "ram": "16"}, "ram", "tiny"),
    ],
)
def test_each_region_is_held_against_its_own_size(folder, command, place, sizes, budget, region):
    """Where all of a kind would do: in ``check``, and in what the linker says."""
    target = profile(folder, "mps2-an386", place, **sizes)
    found = forecast(BuildRequest(folder / "small.tflite", target))
    (violation,) = found.violations
    assert violation.budget == budget and violation.source == f"region {region} of board"
    assert not violation.uncertain
    assert f"from region {region} of board" in violation.sentence()
    with pytest.raises(CheckFailedError, match=rf"too large for {region} by [\d,]+ B"):
        edgebuild.build("small.tflite", target=target, samples=1)


def test_a_placement_that_cannot_be_is_bad_input(folder, command):
    target = profile(folder, "mps2-an386")
    code, _, err = command("build", "small.tflite", "--target", target, "--place", "arena=flash")
    assert code == 2
    assert "place.arena puts 'arena' in 'flash', which is not RAM" in " ".join(err.split())
    with pytest.raises(InputError, match="target host has no memory regions to place"):
        edgebuild.build("small.tflite", target="host", place={"weights": ("far",)})


def test_every_board_places_its_own_roles(folder):
    """What a shipped profile says of its regions links and runs."""
    for name in ("nucleo-h743zi", "rpi-pico", "nrf52840-dk"):
        target = load_target(name)
        assert dataclasses.replace(target, place={}).placement == target.placement
        report = edgebuild.build("small.tflite", target=name, samples=1)
        assert report.passed
