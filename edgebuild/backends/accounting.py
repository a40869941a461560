"""What the model costs in a linked image: weights, code, run-time library; not the benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from edgebuild.regions import Memory, Placement
from edgebuild.toolchain.base import Image, Section
from edgebuild.toolchain.elf import object_ranges


@dataclass(frozen=True)
class Footprint:
    """Bytes by origin. ``weights``: constants of the model; ``code``: layers and kernels with their
    parameters; ``runtime``: what they pull in (memcpy, arithmetic helpers); ``application``: the
    benchmark firmware around them. ``static_ram``: what the model's own code has in RAM: .data,
    .bss, and what is copied there. ``regions``: of all but the application, by memory region."""

    weights: int
    code: int
    runtime: int
    application: int
    static_ram: int
    regions: Mapping[str, int] = field(default_factory=dict)

    @property
    def model_flash(self) -> int:
        """What the model adds to the user's own firmware."""
        return self.weights + self.code + self.runtime


def footprint(
    image: Image, name: str, library: str, placement: Placement | None = None
) -> Footprint:
    """Sum the image's input sections by where they come from, as the linker's map tells.

    ``library`` is the folder of the generated library among the sources; weights are all of
    ``<name>_weights.c``. Regions are those of ``placement``.
    """
    return footprint_of_all(image, (name,), library, placement)


def footprint_of_all(
    image: Image, names: Collection[str], library: str, placement: Placement | None = None
) -> Footprint:
    """Return the ``footprint`` of all models in an image."""
    weights = {f"obj/{library}/{name}_weights.o" for name in names}
    regions: Counter[str] = Counter()
    sums = dict.fromkeys(("weights", "code", "runtime", "application", "static_ram"), 0)
    ranges = object_ranges(image.map_file.read_text()).ranges
    for section in image.sections:
        for start, end, object_file in ranges:
            if not section.address <= start < section.address + section.size:
                continue
            origin = _origin(object_file, weights, library)
            if section.in_flash:
                sums[origin] += end - start
            if origin == "application":
                continue
            if section.in_ram:
                sums["static_ram"] += end - start
            if placement is not None:
                for region in _occupied(section, placement):
                    regions[region.name] += end - start
    return Footprint(**sums, regions=dict(regions))


def _occupied(section: Section, placement: Placement) -> Iterator[Memory]:
    """Yield where a section takes room: in flash where it lies, or with the code what is copied."""
    at = [m for m in placement.used if m.origin <= section.address < m.end]
    if section.in_ram:
        yield from at
    if section.in_flash:
        yield from [placement.code] if section.in_ram else at


def _origin(object_file: str, weights: Collection[str], library: str) -> str:
    # Objects lie below obj/, as their sources do: see toolchain.compiler.object_path.
    if object_file in weights:
        return "weights"
    if object_file.startswith(f"obj/{library}/"):
        return "code"
    if "compiler_rt" in object_file or "libgcc" in object_file or "startup/libc" in object_file:
        return "runtime"
    return "application"
