"""Which functions a call through a pointer may be of, from the relocations of object files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CALLS = {10, 28, 29, 30, 51, 102, 103}
"""R_ARM_THM_CALL, CALL, JUMP24, THM_JUMP24, THM_JUMP19, THM_JUMP11 and THM_JUMP8: these go to a
function and do not take its address."""

_NONE = 0
_SHF_EXECINSTR = 4

Piece = tuple[str, int]
"""A section of an object file: with ``-ffunction-sections`` and ``-fdata-sections``, one function
or one object."""


@dataclass(frozen=True)
class References:
    """What each section refers to, and the functions whose address it takes, by name where they
    are defined in another file. ``functions`` are those in a section, ``defined`` where global
    names are."""

    uses: Mapping[Piece, set[Piece | str]] = field(default_factory=dict)
    pointers: Mapping[Piece, set[Piece | str]] = field(default_factory=dict)
    functions: Mapping[Piece, set[str]] = field(default_factory=dict)
    defined: Mapping[str, set[Piece]] = field(default_factory=dict)

    def pointed(
        self, object_file: str, function: str, *, alone: bool = False
    ) -> frozenset[tuple[str, str]]:
        """Return (object file, name) of all functions whose address is taken by a function of an
        object file, by an object that it refers to and, but for ``alone``, by what it calls."""
        seen: set[Piece] = set()
        todo = [
            piece
            for piece, names in self.functions.items()
            if piece[0] == object_file and function in names
        ] or [*self.defined.get(function, ())]
        while todo:
            piece = todo.pop()
            if piece not in seen:
                seen.add(piece)
                used = self._pieces(self.uses.get(piece, ()))
                todo += [one for one in used if not (alone and one in self.functions)]
        taken = {one for piece in seen for one in self._pieces(self.pointers.get(piece, ()))}
        return frozenset((p[0], name) for p in taken for name in self.functions.get(p, ()))

    def _pieces(self, targets: Iterable[Piece | str]) -> Iterator[Piece]:
        for target in targets:
            if isinstance(target, str):
                yield from self.defined.get(target, ())
            else:
                yield target


def read_references(objects: Mapping[str, Path]) -> References:
    """Read object files, each by the name that it has in a map file."""
    from elftools.elf.elffile import ELFFile

    found = References(*(defaultdict(set) for _ in range(4)))
    for name, path in objects.items():
        with path.open("rb") as file:
            _read(ELFFile(file), name, found)
    return found


def _read(elf: Any, name: str, found: References) -> None:
    from elftools.elf.relocation import RelocationSection

    sections = list(elf.iter_sections())
    code = {i for i, one in enumerate(sections) if one["sh_flags"] & _SHF_EXECINSTR}
    symbols = [
        symbol
        for section in sections
        if section["sh_type"] == "SHT_SYMTAB"
        for symbol in section.iter_symbols()
    ]
    for symbol in symbols:
        index, info = symbol["st_shndx"], symbol["st_info"]
        if isinstance(index, int):
            if info["type"] == "STT_FUNC":
                _put(found.functions, (name, index), symbol.name)
            if info["bind"] != "STB_LOCAL":
                _put(found.defined, symbol.name, (name, index))
    for section in sections:
        if isinstance(section, RelocationSection):
            piece = (name, section["sh_info"])
            for relocation in section.iter_relocations():
                kind = relocation["r_info_type"]
                symbol = symbols[relocation["r_info_sym"]]
                if kind != _NONE:
                    _note(piece, symbol, kind in _CALLS, code, found)


def _note(piece: Piece, symbol: Any, calls: bool, code: set[int], found: References) -> None:
    index = symbol["st_shndx"]
    target = (piece[0], index) if isinstance(index, int) else symbol.name
    _put(found.uses, piece, target)
    # A function's tables have addresses of its own code, which are no pointers to it.
    own = target == piece and symbol["st_info"]["type"] != "STT_FUNC"
    if not calls and not own and (isinstance(target, str) or index in code):
        _put(found.pointers, piece, target)


def _put(table: Mapping[Any, set[Any]], key: Any, value: Any) -> None:
    table[key].add(value)
