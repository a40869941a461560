"""The linker script of a target, from plain numbers."""

from __future__ import annotations

from edgebuild.codegen.templates import render
from edgebuild.errors import InputError

STACK_ALIGN = 8
VECTOR_ALIGN = 128
"""The vector table has 16 words; VTOR ignores the lowest seven bits."""


def render_linker_script(
    *, flash_origin: int, flash_bytes: int, ram_origin: int, ram_bytes: int, stack_bytes: int
) -> str:
    """Return a linker script for GNU ld and lld.

    The stack takes the last ``stack_bytes`` of RAM, ``.data``, ``.bss`` and ``.eb_arena`` the rest.
    Raises InputError when the stack does not fit.
    """
    stack_bytes = -(-stack_bytes // STACK_ALIGN) * STACK_ALIGN
    stack_origin = (ram_origin + ram_bytes) // STACK_ALIGN * STACK_ALIGN - stack_bytes
    if stack_bytes <= 0 or stack_origin <= ram_origin:
        raise InputError(
            f"a stack of {stack_bytes:,} B leaves nothing of {ram_bytes:,} B of RAM",
            hint="make the stack smaller, or the RAM region larger",
        )
    return render(
        "linker.ld.j2",
        flash_origin=hex(flash_origin),
        flash_bytes=flash_bytes,
        ram_origin=hex(ram_origin),
        ram_bytes=stack_origin - ram_origin,
        stack_origin=hex(stack_origin),
        stack_bytes=stack_bytes,
        vector_align=VECTOR_ALIGN,
    )
