"""What the model costs in a linked image: weights, code, run-time library; not the benchmark."""

from __future__ import annotations

from dataclasses import dataclass

from edgebuild.toolchain.base import Image
from edgebuild.toolchain.elf import object_ranges


@dataclass(frozen=True)
class Footprint:
    """Bytes by origin. ``weights``: constants of the model; ``code``: layers and kernels with their
    parameters; ``runtime``: what they pull in (memcpy, arithmetic helpers); ``application``: the
    benchmark firmware around them. ``static_ram``: .data and .bss of the model's own code."""

    weights: int
    code: int
    runtime: int
    application: int
    static_ram: int

    @property
    def model_flash(self) -> int:
        """What the model adds to the user's own firmware."""
        return self.weights + self.code + self.runtime


def footprint(image: Image, name: str, library: str) -> Footprint:
    """Sum the image's input sections by where they come from, as the linker's map tells.

    ``library`` is the folder of the generated library among the sources; weights are all of
    ``<name>_weights.c``.
    """
    sums = dict.fromkeys(("weights", "code", "runtime", "application", "static_ram"), 0)
    ranges = object_ranges(image.map_file.read_text()).ranges
    for section in image.sections:
        for start, end, object_file in ranges:
            if not section.address <= start < section.address + section.size:
                continue
            origin = _origin(object_file, name, library)
            if section.in_flash:
                sums[origin] += end - start
            if section.in_ram and origin != "application":
                sums["static_ram"] += end - start
    return Footprint(**sums)


def _origin(object_file: str, name: str, library: str) -> str:
    # Objects lie below obj/, as their sources do: see toolchain.compiler.object_path.
    if object_file == f"obj/{library}/{name}_weights.o":
        return "weights"
    if object_file.startswith(f"obj/{library}/"):
        return "code"
    if "compiler_rt" in object_file or "libgcc" in object_file or "startup/libc" in object_file:
        return "runtime"
    return "application"
