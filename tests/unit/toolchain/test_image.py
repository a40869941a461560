"""Firmware from zig and gcc: links for every core, is deterministic, and is read back."""

import re
import shutil
import subprocess

import pytest

from edgebuild.codegen.linker import VECTOR_ALIGN
from edgebuild.devices.simulator import Region, Simulator
from edgebuild.errors import CheckFailedError, InputError, InternalError, ToolError
from edgebuild.regions import Memory
from edgebuild.toolchain import CORES, TOOLCHAINS, CompileJob, find_toolchain
from edgebuild.toolchain.cache import cache_dir
from edgebuild.toolchain.cores import find_core
from edgebuild.toolchain.elf import Segment, flash_pieces, input_sections, object_ranges, read_elf
from tests.unit.toy import MEMORIES, REGIONS, toy_image, toy_job, toy_reference, toy_script

GCC = pytest.param(
    "gcc",
    marks=[
        pytest.mark.gcc,
        pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no arm-none-eabi-gcc"),
    ],
)
BOTH = pytest.mark.parametrize("toolchain", ["zig", GCC])


@BOTH
@pytest.mark.parametrize("core", CORES)
def test_every_core_links(toolchain, core, tmp_path):
    image = toy_image(tmp_path, core, toolchain)
    vectors = image.symbol("eb_vectors")
    assert (vectors.address, vectors.size, vectors.section) == (0, 64, ".vectors")
    content = image.binary.read_bytes()
    stack_top = int.from_bytes(content[:4], "little")
    reset = int.from_bytes(content[4:8], "little")
    assert stack_top == image.symbol("__stack_top").address == REGIONS[1].origin + REGIONS[1].size
    assert reset == image.symbol("Reset_Handler").address | 1
    assert image.symbol("toy_model").object_file == "obj/toy.o"
    assert image.symbol("eb_fault").object_file == "obj/startup/startup_cortexm.o"


@BOTH
def test_sections_say_where_they_take_room(toolchain, tmp_path):
    image = toy_image(tmp_path, "cortex-m4", toolchain)
    places = {s.name: (s.in_flash, s.in_ram) for s in image.sections}
    assert places[".text"] == places[".rodata"] == places[".vectors"] == (True, False)
    assert places[".data"] == (True, True)
    assert places[".bss"] == places[".eb_arena"] == places[".stack"] == (False, True)
    sizes = {s.name: s.size for s in image.sections}
    assert sizes[".stack"] == 4096 and sizes[".eb_arena"] == 192
    flash = sum(s.size for s in image.sections if s.in_flash)
    assert flash <= len(image.binary.read_bytes()) < flash + 128  # alignment


@BOTH
def test_two_builds_are_equal_and_name_no_folder(toolchain, tmp_path, monkeypatch):
    first = toy_image(tmp_path / "a", "cortex-m4", toolchain)
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path / "fresh-cache"))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "zig-cache"))
    second = toy_image(tmp_path / "b", "cortex-m4", toolchain)
    for one, two in ((first.elf, second.elf), (first.map_file, second.map_file)):
        content = one.read_bytes()
        assert content == two.read_bytes()
        assert b"/tmp" not in content and str(tmp_path).encode() not in content


def disassembly(image, function):
    return subprocess.run(
        ["arm-none-eabi-objdump", "-d", f"--disassemble={function}", str(image.elf)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.gcc
@pytest.mark.skipif(not shutil.which("arm-none-eabi-objdump"), reason="no arm-none-eabi-objdump")
@BOTH
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_float_cores_use_their_unit(toolchain, core, tmp_path):
    code = disassembly(toy_image(tmp_path, core, toolchain), "toy_run")
    assert re.search(r"\tv(mul|cvt)", code) and "__aeabi_fmul" not in code


VECTOR = """#include <stdint.h>
extern int8_t a[256], b[256];
int8_t a[256], b[256];
int main(void) { for (int i = 0; i < 256; i++) a[i] = (int8_t)(a[i] + b[i]); return 0; }
"""


@pytest.mark.gcc
@pytest.mark.skipif(not shutil.which("arm-none-eabi-objdump"), reason="no arm-none-eabi-objdump")
@BOTH
@pytest.mark.parametrize("mve", [True, False])
def test_helium_can_be_left_out(toolchain, mve, tmp_path):
    job = CompileJob({"main.c": VECTOR}, optimize="-O3")
    image = find_toolchain(toolchain).build_image(
        job, "cortex-m55", toy_script(), tmp_path, mve=mve
    )
    code = subprocess.run(
        ["arm-none-eabi-objdump", "-d", str(image.elf)], capture_output=True, text=True, check=True
    ).stdout
    assert ("vadd.i8" in code) == mve


@BOTH
def test_boot_block_comes_first(toolchain, tmp_path):
    boot = """#include <stdint.h>
extern const uint8_t boot[256];
__attribute__((section(".boot2"))) const uint8_t boot[256] = { 0xB0, 0x07 };
"""
    job = toy_job()
    job = CompileJob({**job.sources, "boot.c": boot}, defines=job.defines)
    image = find_toolchain(toolchain).build_image(job, "cortex-m0plus", toy_script(), tmp_path)
    assert image.binary.read_bytes()[:2] == b"\xb0\x07"
    assert image.symbol("eb_vectors").address == 256


@BOTH
def test_overflow_is_a_missed_budget(toolchain, tmp_path):
    with pytest.raises(CheckFailedError, match=r"too large for flash by [\d,]+ B"):
        find_toolchain(toolchain).build_image(
            toy_job(),
            "cortex-m4",
            toy_script((Memory("flash", "flash", 0, 1024), MEMORIES[1])),
            tmp_path,
        )
    assert not list(tmp_path.iterdir())


@BOTH
def test_compiler_error_shows_first_lines_and_log(toolchain, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path / "cache"))
    job = CompileJob({"main.c": "int main(void) { return missing; }\n"})
    with pytest.raises(ToolError, match=r"failed compiling main\.c") as caught:
        find_toolchain(toolchain).build_image(job, "cortex-m4", toy_script(), tmp_path / "out")
    assert "main.c:1:" in caught.value.details[0] and "missing" in caught.value.details[0]
    log = caught.value.details[-1].removeprefix("full log: ")
    assert log.startswith(str(cache_dir()))
    assert "missing" in (cache_dir() / "logs" / log.rpartition("/")[2]).read_text()


@BOTH
@pytest.mark.parametrize("code", ["char c = i;", "int unused;"])
def test_warnings_are_errors(toolchain, code, tmp_path):
    job = CompileJob({"main.c": f"int main(void) {{ int i = 5; {code} (void)i; return 0; }}\n"})
    with pytest.raises(ToolError, match="failed compiling"):
        find_toolchain(toolchain).build_image(job, "cortex-m4", toy_script(), tmp_path)


def test_missing_compilers_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr("edgebuild.toolchain.zig._find_zig", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, hint in (("zig", "pip install ziglang"), ("gcc", "apt install gcc-arm-none-eabi")):
        toolchain = TOOLCHAINS[name]()
        assert not toolchain.available()
        with pytest.raises(ToolError, match="is not installed") as caught:
            toolchain.version()
        assert hint in caught.value.hint
    with pytest.raises(ToolError, match="is not installed"):
        find_toolchain("gcc").compile_shared(toy_job(), tmp_path)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'zig'"):
        find_toolchain("zigg")
    with pytest.raises(InputError, match="did you mean 'cortex-m4'"):
        find_core("cortexm4")
    assert find_core("cortex-m0").target == "thumb-freestanding-eabi"


@pytest.mark.parametrize("path", ["/etc/x.c", "../x.c", "a/../x.c"])
def test_paths_cannot_leave_the_tree(path, tmp_path):
    with pytest.raises(InternalError, match="not a plain relative path"):
        find_toolchain("zig").build_image(
            CompileJob({path: ""}), "cortex-m4", toy_script(), tmp_path
        )


def test_stack_must_leave_room():
    with pytest.raises(InputError, match="leaves nothing of"):
        toy_script(stack_bytes=8 << 20)


def test_not_an_elf(tmp_path):
    path = tmp_path / "x.elf"
    path.write_bytes(b"nothing")
    with pytest.raises(ToolError, match="is not a readable ELF file"):
        read_elf(path)


def contents(*segments):
    from edgebuild.toolchain.elf import ElfContents

    return ElfContents(0, segments, (), ())


def test_stored_pieces_are_those_of_each_memory():
    first, second = Segment(0, 0, b"ab", 2), Segment(4, 0x2000_0000, b"c", 1)
    assert flash_pieces(contents(second, first)) == [(0, b"ab\xff\xffc")]
    assert flash_pieces(contents(Segment(0, 0, b"", 8))) == []
    external = Segment(0x4000_0000, 0x4000_0000, b"x", 1)
    assert flash_pieces(contents(external, first)) == [(0, b"ab"), (0x4000_0000, b"x")]


ODD_ORIGINS = [0x27000, 0x1000, 0x1100, 0x0800_8000, 0x0800_8080, 0x1000_0010]


@BOTH
@pytest.mark.parametrize("origin", ODD_ORIGINS, ids=hex)
def test_flash_behind_a_boot_loader(toolchain, origin, tmp_path):
    """No byte of the file lies outside of the regions, whatever the flash's origin."""
    memories = (
        Memory("flash", "flash", origin, 0x1_0000),
        Memory("ram", "ram", 0x2000_2804, 0x1_0000 - 0x2804),
    )
    script = toy_script(memories)
    image = find_toolchain(toolchain).build_image(toy_job(), "cortex-m4", script, tmp_path)
    segments = read_elf(image.elf).segments
    for segment in segments:
        places = {(segment.load_address, len(segment.content)): segment.content}
        places[segment.address, segment.memory_bytes] = True
        for (start, size), there in places.items():
            inside = any(m.origin <= start and start + size <= m.end for m in memories)
            assert inside or not there, (hex(start), size)
    vectors = image.symbol("eb_vectors").address
    assert vectors == -(-origin // VECTOR_ALIGN) * VECTOR_ALIGN
    start = min(s.load_address for s in segments if s.content)
    assert image.binary.read_bytes()[4:8] == (image.symbol("Reset_Handler").address | 1).to_bytes(
        4, "little"
    )
    assert start == vectors
    x = bytes((3 * i) & 0xFF for i in range(64))
    regions = [Region(m.name, m.origin, m.size_bytes, m.kind) for m in memories]
    outputs = Simulator(image, "cortex-m4", regions).run([(x,)]).outputs
    signed = [v - 256 if v > 127 else v for v in x]
    assert outputs[0][0] == bytes(v & 0xFF for v in toy_reference(signed))


def test_objects_from_a_map_of_gnu_ld():
    ranges = object_ranges(
        "Discarded input sections\n .text 0x0 0x8 gone.o\nLinker script and memory map\n\n"
        ".text           0x00000010       0x20\n"
        " .text.f\n                0x00000010       0x10 a.o\n"
        " .text.g 0x00000020 0x10 lib.a(b.o)\n.comment 0x0 0x5\n .comment 0x0 0x50 c.o\n"
    )
    found = [ranges.find(a) for a in (0x0, 0x10, 0x1F, 0x20, 0x30)]
    assert found == ["", "a.o", "a.o", "lib.a(b.o)", ""]


@BOTH
def test_input_sections_are_named(toolchain, tmp_path):
    image = toy_image(tmp_path, "cortex-m4", toolchain)
    sections = input_sections(image.map_file.read_text())
    named = {s.name: s for s in sections if s.object_file == "obj/toy.o"}
    for function in ("toy_init", "toy_run", "toy_input"):
        section, symbol = named[f".text.{function}"], image.symbol(function)
        assert (section.start, section.size) == (symbol.address, symbol.size)


@BOTH
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_kernels_see_the_dsp_extension(toolchain, core, tmp_path):
    text = "#ifndef __ARM_FEATURE_DSP\n#error no DSP\n#endif\nint main(void) { return 0; }\n"
    find_toolchain(toolchain).build_image(
        CompileJob({"main.c": text}), core, toy_script(), tmp_path
    )
