"""Read a linked image: sections, symbols, and the bytes that are written to flash."""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild.errors import ToolError
from edgebuild.files import atomic_write
from edgebuild.toolchain.base import Image, Section, Symbol

_SHF_WRITE, _SHF_ALLOC = 1, 2
_GAP = b"\xff"
_MAX_GAP_BYTES = 1 << 20


@dataclass(frozen=True)
class Segment:
    """A piece of memory of an image: where it is loaded, where it runs, its bytes.

    ``memory_bytes`` counts the zeroed rest too.
    """

    load_address: int
    address: int
    content: bytes
    memory_bytes: int


@dataclass(frozen=True)
class ElfContents:
    """What an ELF file holds."""

    entry: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]


def read_elf(path: Path) -> ElfContents:
    """Read an ELF file; ToolError when it is none."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            segments = tuple(
                Segment(s["p_paddr"], s["p_vaddr"], s.data(), s["p_memsz"])
                for s in elf.iter_segments("PT_LOAD")
                if s["p_memsz"]
            )
            sections = tuple(_sections(elf, segments))
            return ElfContents(elf["e_entry"], segments, sections, tuple(_symbols(elf)))
    except (ELFError, OSError) as error:
        raise ToolError(f"{path} is not a readable ELF file: {error}") from error


def read_image(elf: Path, map_file: Path, toolchain: str) -> Image:
    """Read ``elf``, name each symbol's object file from the map, write the ``.bin`` beside it.

    What lies in a second memory goes to a file of its own, with its address in the name:
    ``firmware-90000000.bin``.
    """
    contents = read_elf(elf)
    binary = elf.with_suffix(".bin")
    first, *further = flash_pieces(contents) or [(0, b"")]
    atomic_write(binary, first[1])
    for address, content in further:
        atomic_write(elf.with_name(f"{elf.stem}-{address:08x}.bin"), content)
    objects = object_ranges(map_file.read_text(errors="replace"))
    symbols = tuple(
        dataclasses.replace(s, object_file=objects.find(s.address) if s.section else "")
        for s in contents.symbols
    )
    return Image(elf, binary, map_file, contents.sections, symbols, toolchain)


def flash_pieces(contents: ElfContents) -> list[tuple[int, bytes]]:
    """Return what is stored, by ascending address: one piece for each memory.

    Gaps inside a piece are 0xFF, as erased flash; a gap of more than ``_MAX_GAP_BYTES`` begins
    another memory, such as external flash.
    """
    pieces: list[tuple[int, bytearray]] = []
    for segment in sorted(contents.segments, key=lambda s: s.load_address):
        if not segment.content:
            continue
        gap = segment.load_address - (pieces[-1][0] + len(pieces[-1][1])) if pieces else None
        if gap is None or gap > _MAX_GAP_BYTES:
            pieces.append((segment.load_address, bytearray(segment.content)))
        else:
            start, piece = pieces[-1]
            piece.extend(_GAP * gap)
            offset = segment.load_address - start
            piece[offset : offset + len(segment.content)] = segment.content
    return [(start, bytes(piece)) for start, piece in pieces]


def _sections(elf: Any, segments: tuple[Segment, ...]) -> list[Section]:
    result = []
    for section in elf.iter_sections():
        flags, size = section["sh_flags"], section["sh_size"]
        if not flags & _SHF_ALLOC or not size:
            continue
        address = section["sh_addr"]
        stored = section["sh_type"] != "SHT_NOBITS"
        moved = any(
            s.address != s.load_address and s.address <= address < s.address + s.memory_bytes
            for s in segments
        )
        in_ram = bool(flags & _SHF_WRITE) or not stored or moved
        result.append(Section(section.name, address, size, in_flash=stored, in_ram=in_ram))
    return result


def _symbols(elf: Any) -> list[Symbol]:
    names = [section.name for section in elf.iter_sections()]
    table = elf.get_section_by_name(".symtab")
    result = []
    for symbol in table.iter_symbols() if table is not None else ():
        kind, index = symbol["st_info"]["type"], symbol["st_shndx"]
        # $t, $d and $a mark code and data for disassemblers.
        if kind in ("STT_FILE", "STT_SECTION") or not symbol.name or symbol.name[0] == "$":
            continue
        if index == "SHN_UNDEF":
            continue
        section = names[index] if isinstance(index, int) else ""
        thumb = kind == "STT_FUNC"
        result.append(
            Symbol(symbol.name, symbol["st_value"] & ~int(thumb), symbol["st_size"], section)
        )
    return sorted(result, key=lambda s: (s.address, s.name))


_OBJECT = r"(?P<object>[^\s()]+\.(?:o|obj|a)(?:\([^)\s]+\))?)"
_LLD_INPUT = re.compile(
    rf"\s*(?P<start>[0-9a-f]+)\s+[0-9a-f]+\s+(?P<size>[0-9a-f]+)\s+\d+\s+{_OBJECT}"
    r":\((?P<section>.*)\)\s*"
)
_LLD_OUTPUT = re.compile(r"\s*[0-9a-f]+\s+[0-9a-f]+\s+[0-9a-f]+\s+\d+ (?P<section>\.\S+)")
_GNU_INPUT = re.compile(
    rf"\s(?P<section>\.\S+)?\s+0x(?P<start>[0-9a-f]+)\s+0x(?P<size>[0-9a-f]+)\s+{_OBJECT}\s*"
)
_GNU_LONG_NAME = re.compile(r" (?P<section>\.\S+)\s*")
_GNU_OUTPUT = re.compile(r"(?P<section>\.\S+)(?:\s.*)?")
_NOT_LOADED = (".debug", ".comment", ".ARM.attributes", ".note", ".symtab", ".strtab", ".shstrtab")


@dataclass(frozen=True)
class InputSection:
    """A section of an object file where the linker put it."""

    start: int
    size: int
    object_file: str
    name: str


@dataclass(frozen=True)
class ObjectRanges:
    """Which object file each address came from: (start, end, object), sorted."""

    ranges: tuple[tuple[int, int, str], ...]

    def find(self, address: int) -> str:
        """Return the object file at ``address``, or ""."""
        position = bisect_right(self.ranges, address, key=lambda r: r[0]) - 1
        if position >= 0:
            _, end, name = self.ranges[position]
            if address < end:
                return name
        return ""


def object_ranges(map_text: str) -> ObjectRanges:
    """Read a map file of lld or GNU ld."""
    found = input_sections(map_text)
    return ObjectRanges(tuple(sorted((s.start, s.start + s.size, s.object_file) for s in found)))


def input_sections(map_text: str) -> tuple[InputSection, ...]:
    """Return the sections that take room in the image, from a map file of lld or GNU ld."""
    # GNU ld lists discarded sections first, at address 0.
    _, found, rest = map_text.partition("Linker script and memory map")
    input_line, output_line = (_GNU_INPUT, _GNU_OUTPUT) if found else (_LLD_INPUT, _LLD_OUTPUT)
    sections = []
    loaded, name = False, ""
    for line in (rest if found else map_text).splitlines():
        if output := output_line.fullmatch(line):
            loaded = not output["section"].startswith(_NOT_LOADED)
        elif loaded and (match := input_line.fullmatch(line)):
            start, size = int(match["start"], 16), int(match["size"], 16)
            if size:
                own = match["section"] or name
                sections.append(InputSection(start, size, match["object"], own))
        elif found and (long := _GNU_LONG_NAME.fullmatch(line)):
            name = long["section"]  # where and how long it is stands on the next line
    return tuple(sections)
