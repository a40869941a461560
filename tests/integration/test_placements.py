"""Roles in memory regions, run for real: all bytes compared, in QEMU after the start-up code."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

import edgebuild
from edgebuild.errors import CheckFailedError, InputError
from edgebuild.regions import ROLES
from edgebuild.targets import load_target

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
        if "/kernels/" in s.object_file and (region := symbols[s.name])
    }
    assert kernels == {placed["kernels"]}
    assert symbols["eb_arena"] == placed["arena"].split(",")[0]
    assert sections[".bss"] == sections[".stack"] == placed["data"]
    if "," in placed["arena"]:
        assert symbols["eb_arena1"] == placed["arena"].split(",")[1]


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
    target = profile(folder, "mps2-an386", flash="14KiB")
    build = ("build", "small.tflite", "--target", target, "--toolchain", "zig")
    code, _, err = command(*build)
    err = " ".join(err.split())
    assert code == 1 and "it misses flash by" in err
    assert "far 1 MiB is not used: --place weights=far" in err
    assert command(*build, "--place", "weights=far")[0] == 0
    with pytest.raises(CheckFailedError, match="RAM of board is too small") as caught:
        edgebuild.build("small.tflite", target=profile(folder, "mps2-an386", ram="4608"))
    assert "psram 1 MiB is not used: --place arena=psram" in caught.value.hint
    assert "tiny 640 B is not used: --place arena=ram,tiny" in caught.value.hint


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
    target = profile(folder, "mps2-an386", {"weights": "far"}, flash="1KiB")
    code, _, err = command("check", "small.tflite", "--target", target)
    assert code == 1 and "region flash is too small: code needs" in " ".join(err.split())


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
