"""The Cortex-M cores that firmware is compiled for, as each compiler calls them."""

from __future__ import annotations

from dataclasses import dataclass

from edgebuild.errors import InputError, nearest


@dataclass(frozen=True)
class Core:
    """One core. ``zig`` and ``gcc`` are values of ``-mcpu``; ``no_mve`` is added to leave Helium
    out. Single-precision units are chosen, as parts with a double-precision one run that too."""

    name: str
    zig: str
    gcc: str
    hard_float: bool = False
    gcc_fpu: str = ""
    zig_no_mve: str = ""
    gcc_no_mve: str = ""

    @property
    def target(self) -> str:
        """Zig's target triple."""
        return f"thumb-freestanding-{'eabihf' if self.hard_float else 'eabi'}"


_ALL = (
    Core("cortex-m0", "cortex_m0", "cortex-m0"),
    Core("cortex-m0plus", "cortex_m0plus", "cortex-m0plus"),
    Core("cortex-m3", "cortex_m3", "cortex-m3"),
    Core("cortex-m4", "cortex_m4+vfp4d16sp", "cortex-m4", True, "fpv4-sp-d16"),
    Core("cortex-m7", "cortex_m7+fp_armv8d16sp", "cortex-m7", True, "fpv5-sp-d16"),
    Core("cortex-m33", "cortex_m33+dsp+fp_armv8d16sp", "cortex-m33", True, "fpv5-sp-d16"),
    Core(
        "cortex-m55",
        "cortex_m55+fp_armv8d16+fullfp16+mve+mve_fp",
        "cortex-m55",
        True,
        "auto",
        zig_no_mve="cortex_m55+fp_armv8d16+fullfp16-mve-mve_fp",
        gcc_no_mve="cortex-m55+nomve",
    ),
)

CORES = {core.name: core for core in _ALL}


def find_core(name: str) -> Core:
    """Return the core called ``name``; InputError when there is none."""
    try:
        return CORES[name]
    except KeyError:
        raise InputError(
            f"'{name}' is not a core that edgebuild compiles for{nearest(name, CORES)}",
            hint=f"one of {', '.join(CORES)}",
        ) from None
