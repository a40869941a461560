"""Memory regions of a target: what each holds, how fast it is, and where a build's parts go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.errors import InputError, InternalError, nearest
from edgebuild.units import format_size, quoted

MEMORY_KINDS = ("flash", "ram")

ROLES: Mapping[str, str] = {
    "code": "start-up, layers and the application",
    "kernels": "the operators' loops",
    "weights": "constants of the model",
    "arena": "activations and scratch",
    "data": "variables and the stack",
}
"""What a region may hold, with what that is."""

MAX_ARENA_BANKS = 4
_NULL_BYTES = 16
_INTERNAL_RAM, _EXTERNAL = 0x2000_0000, 0x6000_0000
"""Where the system address map of Armv7-M and Armv8-M has RAM of the chip, and memory outside."""


@dataclass(frozen=True)
class Cache:
    """A cache: its size, the bytes of a line, and how many lines share a set."""

    size_bytes: int
    line_bytes: int
    ways: int

    @property
    def sets(self) -> int:
        """How many sets it has; which one a line falls into, its address decides."""
        return max(1, self.size_bytes // (self.line_bytes * self.ways))


@dataclass(frozen=True)
class Access:
    """How fast a region is, in cycles of the core.

    An access that no cache and no buffer answers takes ``1 + wait_states`` cycles and brings
    ``line_bytes``, aligned; the line behind it, read next, takes ``1 + sequential_wait_states``
    (None: as many as any other). Where only bounds are known, ``wait_states`` is the lower and
    ``wait_states_max`` the upper one.

    ``prefetch``: the next line of instructions is fetched while this one runs. ``cache`` serves
    instructions and data, ``instruction_cache`` and ``data_cache`` one of them; ``core_caches``:
    the core's own caches (``Cpu``) serve the region. ``execute_in_place`` is false where
    instructions cannot be fetched.
    """

    wait_states: int = 0
    wait_states_max: int | None = None
    sequential_wait_states: int | None = None
    line_bytes: int = 4
    prefetch: bool = False
    cache: Cache | None = None
    instruction_cache: Cache | None = None
    data_cache: Cache | None = None
    core_caches: bool = False
    execute_in_place: bool = True

    @property
    def is_bounded(self) -> bool:
        """True when only bounds of the wait states are known."""
        return self.wait_states_max not in (None, self.wait_states)


@dataclass(frozen=True)
class Memory:
    """A region of the memory map. ``reserved_bytes`` at its end are left to the application.

    ``holds`` are the ``ROLES`` that the profile gives it. ``access`` is None where nothing is known
    of its speed; zero wait states are then assumed, and the report says so.
    """

    name: str
    kind: str
    origin: int
    size_bytes: int
    reserved_bytes: int = 0
    holds: tuple[str, ...] = ()
    access: Access | None = None

    @property
    def end(self) -> int:
        """The first address behind the region."""
        return self.origin + self.size_bytes

    @property
    def first(self) -> int:
        """The first address that a build uses: in RAM not 0, which is no address of an object."""
        return self.origin or (_NULL_BYTES if self.kind == "ram" else 0)

    @property
    def usable_bytes(self) -> int:
        """What a build may use: all but the reserved part."""
        return self.size_bytes - self.reserved_bytes

    @property
    def executes(self) -> bool:
        """Whether instructions can be fetched from the region."""
        return self.access is None or self.access.execute_in_place


@dataclass(frozen=True)
class Placement:
    """The region of each role; the arena may be split over several, in this order.

    Kernels and weights in RAM are copied there at start-up, from the region of the code.
    """

    code: Memory
    kernels: Memory
    weights: Memory
    arena: tuple[Memory, ...]
    data: Memory

    def of(self, role: str) -> tuple[Memory, ...]:
        """Return the regions that hold ``role``."""
        regions = getattr(self, role)
        return regions if isinstance(regions, tuple) else (regions,)

    @property
    def used(self) -> tuple[Memory, ...]:
        """The regions that hold something, each once, in the order of ``ROLES``."""
        return tuple(dict.fromkeys(region for role in ROLES for region in self.of(role)))

    def roles_of(self, region: Memory) -> tuple[str, ...]:
        """Return what ``region`` holds."""
        return tuple(role for role in ROLES if region in self.of(role))


def placement_of(
    memories: Sequence[Memory], place: Mapping[str, Sequence[str]]
) -> Placement | None:
    """Return where each role goes; None when ``memories`` lack flash or RAM.

    ``place`` decides first, then the regions' ``holds``. Otherwise code goes to the first flash,
    data to the first RAM, kernels and weights with the code, and the arena with the data. Expects
    what ``placement_faults`` has passed.
    """
    by_name = {memory.name: memory for memory in memories}

    def regions(role: str) -> tuple[Memory, ...]:
        if role in place:
            return tuple(by_name[name] for name in place[role])
        return tuple(memory for memory in memories if role in memory.holds)

    def first(kind: str) -> Memory | None:
        return next((memory for memory in memories if memory.kind == kind), None)

    code = next(iter(regions("code")), first("flash"))
    data = next(iter(regions("data")), first("ram"))
    if code is None or data is None:
        return None
    return Placement(
        code,
        next(iter(regions("kernels")), code),
        next(iter(regions("weights")), code),
        regions("arena") or (data,),
        data,
    )


def placement_faults(
    memories: Sequence[Memory], place: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """Yield (key, fault) for roles that are placed where they cannot be; a key is ``memory`` or
    ``place.<role>``."""
    by_name = {memory.name: memory for memory in memories}
    for role in ROLES:
        for fault in _role_faults(role, [m for m in memories if role in m.holds]):
            yield "memory", fault
    for role, names in place.items():
        if role not in ROLES:
            yield f"place.{role[:60]}", f"is not a role{nearest(role[:60], ROLES)}"
            continue
        unknown = [name for name in names if name not in by_name]
        for name in unknown:
            known = nearest(name[:60], by_name) or f"; the profile defines {_listed(by_name)}"
            yield (
                f"place.{role}",
                f"refers to a region {quoted(name)} that is not defined{known}",
            )
        if not unknown:
            for fault in _role_faults(role, [by_name[name] for name in names]):
                yield f"place.{role}", fault


def _listed(names: Iterable[str]) -> str:
    """Return ``a, b and c``."""
    *most, last = [*names] or ["no regions"]
    return f"{', '.join(most)} and {last}" if most else last


def _role_faults(role: str, regions: Sequence[Memory]) -> Iterator[str]:
    """Yield what is wrong with a role in these regions; none stands for the default."""
    names = " and ".join(f"'{region.name}'" for region in regions)
    if len(set(regions)) != len(regions):
        yield f"names a region twice for '{role}'"
    most = MAX_ARENA_BANKS if role == "arena" else 1
    if len(regions) > most:
        wide = f"up to {most} regions" if most > 1 else "one region"
        yield f"gives '{role}' to {names}; it takes {wide}"
    for region in regions:
        if role == "code" and region.kind != "flash":
            yield f"puts '{role}' in '{region.name}', which is not flash"
        if role in ("arena", "data") and region.kind != "ram":
            yield f"puts '{role}' in '{region.name}', which is not RAM"
        if role in ("code", "kernels") and not region.executes:
            yield f"puts '{role}' in '{region.name}', which cannot execute (execute_in_place)"


def unused_regions(
    memories: Iterable[Memory], placement: Placement, kind: str | None = None
) -> tuple[str, ...]:
    """Return a sentence for each region (of ``kind``) that nothing is placed in: its size, and the
    flag that would use it for what is likely largest there."""
    used = placement.used
    sentences = []
    for region in memories:
        if region in used or kind not in (None, region.kind) or not region.usable_bytes:
            continue
        names = [region.name]
        role = "weights" if region.kind == "flash" else "arena"
        if role == "arena" and region.usable_bytes < placement.arena[0].usable_bytes:
            names = [*(bank.name for bank in placement.arena), region.name]
        size = format_size(region.usable_bytes)
        sentences.append(f"{region.name} {size} is not used: --place {role}={','.join(names)}")
    return tuple(sentences)


def regions_to_set_up(placement: Placement) -> tuple[Memory, ...]:
    """Return the regions in use that are likely behind a controller which no shipped port sets up.

    These are flash that does not go on where the code's ends (QSPI, OCTOSPI, FMC), and RAM where
    Armv7-M and Armv8-M have external memory, or slow RAM in the space for code (PSRAM behind XIP).
    """
    found = []
    for region in placement.used:
        if region.kind == "flash":
            external = region != placement.code and region.origin != placement.code.end
        else:
            slow = region.access is not None and region.access.wait_states > 0
            in_code_space = region.origin < _INTERNAL_RAM
            external = region.origin >= _EXTERNAL or (in_code_space and slow)
        found += [region] if external else []
    return tuple(found)


def placement_notes(memories: Iterable[Memory], placement: Placement | None) -> tuple[str, ...]:
    """Return what the user should know of the regions in use: which need a controller set up, and
    of which no speed is known although others have one or lie in the chip."""
    if placement is None:
        return ()
    external = regions_to_set_up(placement)
    told = any(memory.access is not None for memory in memories)
    unknown = [m for m in placement.used if m.access is None and (told or m in external)]
    return (*_on_set_up(external, placement), *_on_speed(unknown))


def _on_speed(regions: Sequence[Memory]) -> Iterator[str]:
    if regions:
        names = " and ".join(region.name for region in regions)
        verb = "is" if len(regions) == 1 else "are"
        yield (
            f"the profile does not say how fast {names} {verb}: latency is told as if without wait "
            "states; [memory.access] of the region says it"
        )


def _on_set_up(regions: Sequence[Memory], placement: Placement) -> Iterator[str]:
    if not regions:
        return
    names = " and ".join(f"{r.name} ({', '.join(placement.roles_of(r))})" for r in regions)
    yield (
        f"the controller of {names} must be set up before the model runs: the shipped ports do not "
        "do it; define eb_memory_init() in the port, which the start-up code calls before it "
        "copies anything, or leave it to a boot loader"
    )


def unused_of_profile(profile: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Return ``unused_regions`` of a profile as plain JSON values (``TargetProfile.to_json``)."""
    memories = [
        Memory(m["name"], m["kind"], m["origin"], m["size_bytes"], m["reserved_bytes"],
               tuple(m["holds"]))
        for m in profile.get("memories", ())
    ]  # fmt: skip
    placement = placement_of(memories, profile.get("place", {}))
    return unused_regions(memories, placement, kind) if placement is not None else ()


def parse_place(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the role and the regions of ``"weights=qspi"`` or ``"arena=dtcm,ram"``.

    Raises InputError for another form; whether a target has the regions is not checked.
    """
    role, equals, names = text.partition("=")
    regions = tuple(name.strip() for name in names.split(","))
    if not equals or not all(regions):
        raise InputError(
            f"--place {quoted(text)} is not ROLE=REGION", hint="for example --place weights=qspi"
        )
    if role not in ROLES:
        raise InputError(
            f"--place {quoted(text)}: {quoted(role)} is not a role{nearest(role[:60], ROLES)}",
            hint=f"one of {', '.join(ROLES)}",
        )
    return role, regions


def required_placement(placement: Placement | None, target: str) -> Placement:
    """Return ``placement``; InternalError for a target that has no memory map."""
    if placement is None:
        raise InternalError(f"target {target} has no flash or RAM region")
    return placement
