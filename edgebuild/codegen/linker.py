"""The linker script of a target, from its placement of roles in memory regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgebuild.codegen.templates import render
from edgebuild.errors import InputError
from edgebuild.regions import Memory, Placement

STACK_ALIGN = 8
VECTOR_ALIGN = 128
"""The vector table has 16 words; VTOR ignores the lowest seven bits."""

REGION_PREFIX = "EB_"
"""Regions are called as in the profile, behind this: some of their names are a linker's words."""

STACK_REGION = "EB_STACK_ROOM"

WEIGHTS_SECTION = ".rodata.eb_weights"
"""The constants of models are in sections of this name, a dot and the array's name."""

_OBJECTS = {
    # Objects lie as their sources do. What kernels call in their loops goes with them.
    "kernels": ("*lib/edgebuild/*.o", "*startup/libc.o", "*compiler_rt.a:*", "*libgcc.a:*"),
    # One file alone: another model's layers may be called like these.
    "weights": ("*lib/{model}_weights.o",),
}
_SECTIONS = {
    "kernels": (".text", ".text.*", ".rodata", ".rodata.*"),
    "weights": (f"{WEIGHTS_SECTION}.*",),
}
_KEPT_OUT = {"kernels": (".text", ".rodata"), "weights": (".rodata",)}
"""Of which sections of the code each role's objects are left out."""


def region_name(region: Memory) -> str:
    """Return what the linker script, and so the linker's messages, call a region."""
    return REGION_PREFIX + region.name


def render_linker_script(
    placement: Placement, stack_bytes: int, models: Sequence[str], kept: Sequence[str] = ()
) -> str:
    """Return a linker script for GNU ld and lld, for firmware with the libraries of ``models``, by
    which functions that are ``kept`` stay in the image though nothing there calls them.

    The stack takes the last ``stack_bytes`` of the data's region. Kernels and weights are output
    sections of their own where they are placed apart from the code; in RAM they are stored with the
    code, and the words between ``__copy_table`` and ``__copy_table_end`` (from, to, end) say what
    the start-up code copies. ``.eb_arena`` is the arena, ``.eb_arena1`` its second bank.

    Raises InputError when the stack does not fit.
    """
    data = placement.data
    stack_bytes = -(-stack_bytes // STACK_ALIGN) * STACK_ALIGN
    stack_origin = (data.origin + data.usable_bytes) // STACK_ALIGN * STACK_ALIGN - stack_bytes
    if stack_bytes <= 0 or stack_origin <= data.origin:
        raise InputError(
            f"a stack of {stack_bytes:,} B leaves nothing of {data.usable_bytes:,} B of RAM",
            hint="make the stack smaller, or the RAM region larger",
        )
    regions = [
        {
            "name": region_name(region),
            "access": "rx" if region.kind == "flash" else "rwx",
            "origin": hex(region.first),
            "bytes": (stack_origin if region == data else region.origin + region.usable_bytes)
            - region.first,
        }
        for region in placement.used
    ]
    return render(
        "linker.ld.j2",
        regions=regions,
        code=region_name(placement.code),
        data=region_name(data),
        text=_inputs(placement, ".text", models),
        rodata=_inputs(placement, ".rodata", models),
        apart=list(_apart(placement, models)),
        arena=list(_banks(placement)),
        free_after_bss=data not in placement.arena,
        stack_region=STACK_REGION,
        stack_origin=hex(stack_origin),
        stack_bytes=stack_bytes,
        vector_align=VECTOR_ALIGN,
        kept=" ".join(kept),
    )


def _inputs(placement: Placement, section: str, models: Sequence[str]) -> str:
    """Return the input sections that lie with the code: all but those of what lies apart.

    Where the others come first does not matter then; each segment's sections stay together, which
    lld's layout of the file needs.
    """
    excluded = " ".join(
        pattern
        for role in _OBJECTS
        if placement.of(role) != (placement.code,) and section in _KEPT_OUT[role]
        for pattern in _patterns(role, models)
    )
    but = f"EXCLUDE_FILE({excluded}) " if excluded else ""
    return f"{but}{section} {but}{section}.*"


def _patterns(role: str, models: Sequence[str]) -> list[str]:
    """Return what the objects of a role are called, in the linker's patterns."""
    names = (pattern.format(model=model) for pattern in _OBJECTS[role] for model in models)
    return list(dict.fromkeys(names))


def _apart(placement: Placement, models: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield the output sections of kernels and weights that do not lie with the code."""
    for role in _OBJECTS:
        (region,) = placement.of(role)
        if region == placement.code:
            continue
        yield {
            "name": role,
            "region": region_name(region),
            "copied": region.kind == "ram",
            "inputs": [
                f"{pattern}({' '.join(_SECTIONS[role])})" for pattern in _patterns(role, models)
            ],
        }


def _banks(placement: Placement) -> Iterator[dict[str, object]]:
    """Yield the output sections of the arena's banks, that in the data's region first: it has to
    come right behind ``.bss`` for the stack to grow down to its end."""
    banks = list(enumerate(placement.arena))
    for number, region in sorted(banks, key=lambda bank: bank[1] != placement.data):
        yield {
            "section": arena_section(number),
            "region": region_name(region),
            "segment": "ram" if region == placement.data else f"arena{number}",
            "before_stack": region == placement.data,
        }


def arena_section(bank: int) -> str:
    """Return the section that holds a bank of the arena."""
    return f".eb_arena{bank or ''}"
