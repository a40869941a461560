"""Target profiles: typed views of the TOML files in ``targets/``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CpuFeatures:
    """What kernels may use. ``dsp``: the Arm DSP extension (SMLAD); ``mve``: Helium; ``fpu``: a
    single-precision floating-point unit."""

    dsp: bool = False
    mve: bool = False
    fpu: bool = False
