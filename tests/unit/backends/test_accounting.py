"""What a model costs in a linked image, and what is the benchmark's."""

from __future__ import annotations

import shutil

import pytest

from edgebuild.backends import backend_for
from edgebuild.backends.accounting import Footprint, _origin, footprint
from edgebuild.backends.base import Compiled
from edgebuild.backends.emit import LIBRARY
from edgebuild.errors import CheckFailedError, InputError, InternalError, ToolError
from edgebuild.targets import load_target
from edgebuild.tflite.reader import read_tflite
from edgebuild.toolchain.base import Image, Section
from tests.small import small_model

MODEL = small_model()
GRAPH = read_tflite(MODEL, name="small", where="small.tflite")
WEIGHTS = 72 + 72 + 5120
"""int8 weights; biases, multipliers and shifts come on top, 12 bytes for each channel."""

LLD_MAP = """\
             VMA              LMA     Size Align Out     In      Symbol
               0                0      100     4 .text
               0                0       40     4         obj/app/eb_app.o:(.text)
              40               40       60     4         obj/lib/net.o:(.text.net_run)
              a0               a0       20     4         obj/lib/edgebuild/conv2d/conv.o:(.text)
              c0               c0       30     4         obj/lib/net_weights.o:(.rodata)
              f0               f0       10     4         compiler_rt.o:(.text)
        20000000             100       8     4 .data
        20000000             100       8     4         obj/lib/edgebuild/x/x.o:(.data)
        20000010         20000010      80     4 .bss
        20000010         20000010      60     4         obj/app/eb_app.o:(.bss)
        20000070         20000070      20     4         obj/lib/net.o:(.bss)
"""


def test_sums_by_origin(tmp_path):
    (tmp_path / "firmware.map").write_text(LLD_MAP)
    sections = (
        Section(".text", 0, 0x100, True, False),
        Section(".data", 0x2000_0000, 8, True, True),
        Section(".bss", 0x2000_0010, 0x80, False, True),
    )
    image = Image(tmp_path / "e", tmp_path / "b", tmp_path / "firmware.map", sections, (), "zig")
    assert footprint(image, "net", LIBRARY) == Footprint(
        weights=0x30,
        code=0x60 + 0x20 + 8,  # initial values lie in flash
        runtime=0x10,
        application=0x40,
        static_ram=8 + 0x20,
    )
    assert footprint(image, "net", LIBRARY).model_flash == 0x30 + 0x88 + 0x10


@pytest.mark.parametrize(
    ("object_file", "origin"),
    [
        ("obj/lib/net_weights.o", "weights"),
        ("obj/lib/net.o", "code"),
        ("obj/lib/edgebuild/conv2d/conv.o", "code"),
        ("obj/startup/libc/memcpy.o", "runtime"),
        ("/x/lib/gcc/arm-none-eabi/12/libgcc.a(_divdi3.o)", "runtime"),
        ("/cache/o/abc/libcompiler_rt.a(/cache/o/x/compiler_rt.o)", "runtime"),
        ("obj/app/eb_app.o", "application"),
        ("obj/ports/cmsdk_uart/port.o", "application"),
        ("obj/startup/startup.o", "application"),
        ("obj/app_model.o", "application"),
    ],
)
def test_origins(object_file, origin):
    assert _origin(object_file, {"obj/lib/net_weights.o"}, "lib") == origin


def compiled(target: str, toolchain: str, folder) -> Compiled:
    """Compile the small model's firmware."""
    profile = load_target(target)
    backend = backend_for(profile.family)
    emitted = backend.emit(GRAPH, GRAPH, MODEL, "small", profile)
    return backend.compile(emitted, profile, toolchain, folder, lambda _: None)


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("toolchain", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
def test_a_linked_image(tmp_path, target, toolchain):
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    made = compiled(target, toolchain, tmp_path)
    parts = footprint(made.image, "small", LIBRARY)
    assert WEIGHTS <= parts.weights <= WEIGHTS + 26 * 12 + 249 * 4 + 256
    assert 1_000 < parts.code < 12_000
    assert 0 < parts.application < 12_000
    assert parts.static_ram == 0  # all of the model's own state is in the arena
    # memcpy or division helpers: hundreds of bytes at most.
    assert parts.runtime < 4_000
    in_flash = sum(s.size for s in made.image.sections if s.in_flash)
    found = parts.model_flash + parts.application
    assert in_flash * 0.98 <= found <= in_flash
    assert made.flash_bytes.value == parts.model_flash
    assert {k: f.value for k, f in made.flash.items()} == {
        "weights": parts.weights,
        "code": parts.code,
        "runtime": parts.runtime,
    }
    assert made.static_ram_bytes.value == parts.static_ram
    assert made.image.symbol("eb_arena").size >= 500
    with pytest.raises(ToolError, match="cannot run on host"):
        made.open_device("host")


def test_the_benchmark_is_not_counted(tmp_path):
    """The model is the same on two ports; their applications differ."""
    one, two = (compiled(t, "zig", tmp_path / t) for t in ("cortex-m4", "nrf52840-dk"))
    a, b = (footprint(c.image, "small", LIBRARY) for c in (one, two))
    assert (a.weights, a.code) == (b.weights, b.code)
    assert a.application != b.application


def test_families():
    assert backend_for("cortex-m").family == "cortex-m"
    assert backend_for("host").family == "host"
    with pytest.raises(InputError, match="no backend for target family 'avr'"):
        backend_for("avr")


def test_memory_that_does_not_suffice(tmp_path):
    profile = tmp_path / "tiny.toml"
    text = (
        'schema = 1\nname = "tiny"\nbased_on = "cortex-m4"\n'
        '[[memory]]\nname = "flash"\nkind = "flash"\norigin = 0\nsize = "{}"\n'
        '[[memory]]\nname = "ram"\nkind = "ram"\norigin = 0x20000000\nsize = "{}"\n'
    )
    profile.write_text(text.format("8KiB", "64KiB"))
    with pytest.raises(CheckFailedError, match=r"too large for flash by [0-9,]+ B") as caught:
        compiled(str(profile), "zig", tmp_path)
    assert caught.value.message.startswith("small for tiny: the firmware does not fit")
    assert caught.value.details[0] == "FULLY_CONNECTED (operator 3): 5,160 B of weights"
    profile.write_text(text.format("1MiB", "4352B"))  # the arena is larger than 256 B
    with pytest.raises(CheckFailedError, match="RAM of tiny is too small: ram has") as caught:
        compiled(str(profile), "zig", tmp_path)
    assert len(caught.value.details) == 3 and "B of the arena" in caught.value.details[0]


def test_a_profile_without_firmware(tmp_path):
    import dataclasses

    profile = load_target("cortex-m4")
    backend = backend_for("cortex-m")
    emitted = backend.emit(GRAPH, GRAPH, MODEL, "small", profile)
    for broken in ({"firmware": None}, {"memories": ()}):
        changed = dataclasses.replace(profile, **broken)
        with pytest.raises(InternalError):
            backend.compile(emitted, changed, "zig", tmp_path, lambda _: None)
