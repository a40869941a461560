"""The simulator as a Device: model functions called directly, counted, timed, watched."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.devices.base import LayerSample, RunResult, Samples
from edgebuild.devices.simulator.cycles import Decoder
from edgebuild.devices.simulator.machine import Machine, Region, check_core
from edgebuild.devices.simulator.trace import BlockTrace, Segment
from edgebuild.errors import ToolError
from edgebuild.figures import Figure, How
from edgebuild.toolchain.base import Image

PAINT = 0xE5
_MAX_BLOCKS = 500_000_000
_TIMEOUT_S = 600.0
_MODEL_WORDS = 11
_TENSOR_INFO_BYTES = 24


@dataclass(frozen=True)
class Counts:
    """Instructions and modelled cycles of some code."""

    instructions: int
    cycles: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.instructions + other.instructions, self.cycles + other.cycles)


class Simulator:
    """Runs the firmware's model on an emulated Cortex-M.

    Args:
        image: firmware with ``eb_app_model`` and ``eb_arena``, compiled with ``EB_PROFILE``.
        core: e.g. ``cortex-m4``; ToolError for one that cannot be emulated.
        regions: the target's memory; nothing else exists.
        clock_hz: turns cycles into latency; None leaves the latency unknown.
    """

    def __init__(
        self, image: Image, core: str, regions: Sequence[Region], clock_hz: int | None = None
    ) -> None:
        check_core(core)
        self._image, self._core = image, core
        self._regions, self._clock_hz = tuple(regions), clock_hz
        self.raw_instructions = 0
        """Instructions from entering ``run`` to its return, the layer hook's included."""

    def run(self, samples: Samples) -> RunResult:
        """Run every sample; the first one is counted, further ones run at full speed."""
        machine = Machine(self._image.elf, self._core, self._regions)
        model = _Model(machine)
        counted = None
        outputs = []
        for number, sample in enumerate(samples):
            model.write_inputs(sample)
            if number == 0:
                counted = self._count(model)
            else:
                model.run()
            outputs.append(model.read_outputs())
        if counted is None:
            raise ToolError("the simulator was given no sample to run")
        return self._result(model, tuple(outputs), *counted)

    def _count(self, model: _Model) -> tuple[Counts, tuple[LayerSample, ...]]:
        machine = Machine(self._image.elf, self._core, self._regions)
        # Hooks slow a machine down for good, so the counted run has one of its own.
        twin = _Model(machine)
        twin.copy_inputs(model)
        trace = BlockTrace(twin.hook_address, _MAX_BLOCKS)
        machine.add_block_hook(trace.on_block())
        if twin.hook_address is not None:
            machine.add_block_hook(
                _layer_hook(trace, machine), twin.hook_address, twin.hook_address
            )
        try:
            twin.run()
        except ToolError as error:
            if trace.exhausted:
                raise ToolError(
                    f"the simulated model ran more than {_MAX_BLOCKS:,} blocks", hint=error.hint
                ) from None
            raise
        trace.finish()
        model.run()
        decoder = Decoder(self._core)
        parts = [_counts(machine, decoder, segment) for segment in trace.segments]
        layers = tuple(
            LayerSample(segment.layer, part.instructions, part.cycles)
            for segment, part in zip(trace.segments, parts, strict=True)
            if segment.layer is not None
        )
        total = sum(parts, Counts(0, 0))
        hook = _counts(machine, decoder, trace.hook)
        self.raw_instructions = total.instructions + hook.instructions
        return total, layers

    def _result(
        self,
        model: _Model,
        outputs: tuple[tuple[bytes, ...], ...],
        total: Counts,
        layers: tuple[LayerSample, ...],
    ) -> RunResult:
        name = Decoder(self._core).timing.name
        cycles = Figure(total.cycles, "cycles", How.MODELLED, name)
        latency = None
        if self._clock_hz:
            mhz = self._clock_hz / 1e6
            source = f"{name}, {mhz:g} MHz"
            latency = Figure(total.cycles / mhz, "us", How.MODELLED, source)
        return RunResult(
            device=f"simulated {self._core}",
            outputs=outputs,
            instructions=Figure(total.instructions, "instructions", How.MEASURED, "simulator"),
            cycles=cycles,
            latency_us=latency,
            layers=layers,
            stack_bytes=Figure(model.stack_bytes(), "B", How.MEASURED, "simulator, painted"),
            arena_bytes=Figure(model.arena_used(), "B", How.MEASURED, "simulator, painted"),
        )


def _layer_hook(trace: BlockTrace, machine: Machine) -> Any:
    def callback(_uc: Any, _address: int, _size: int, _user: object) -> None:
        trace.layer_done(machine.register("R0"), machine.register("LR"))

    return callback


def _counts(machine: Machine, decoder: Decoder, segment: Segment) -> Counts:
    instructions = cycles = 0
    for block, count in segment.blocks():
        cost = decoder.cost(machine.code(block.address, block.size))
        instructions += count * cost.instructions
        cycles += count * (cost.taken if block.taken else cost.not_taken)
    return Counts(instructions, cycles)


class _Model:
    """The ``eb_model`` that a machine's firmware points to, initialised and painted."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        table = machine.words(machine.words(machine.symbol("eb_app_model"), 1)[0], _MODEL_WORDS)
        _, self._arena_bytes, _, n_in, n_out, inputs, outputs = table[:7]
        self._init, self._run, input_, output = table[7:]
        self._arena = machine.symbol("eb_arena")
        self._stack_top = machine.symbol("__stack_top")
        self._reserved = self._stack_top - machine.symbol("__stack_bottom")
        # Down to the last static variable: a stack that leaves its room is seen.
        self._free = machine.symbol("__ram_free")
        machine.write(self._arena, bytes([PAINT]) * self._arena_bytes)
        status = self._call(self._init, self._arena, self._arena_bytes)
        if status != 0:
            code = struct.unpack("<i", struct.pack("<I", status))[0]
            raise ToolError(f"the simulated model's init returned {code}")
        self._inputs = self._addresses(input_, n_in, inputs)
        self._outputs = self._addresses(output, n_out, outputs)
        # What init used of the stack does not count.
        machine.write(self._free, bytes([PAINT]) * (self._stack_top - self._free))

    @property
    def hook_address(self) -> int | None:
        """The address of ``eb_layer_done``, None in firmware that is not profiled."""
        try:
            return self._machine.symbol("eb_layer_done") & ~1
        except ToolError:
            return None

    def write_inputs(self, sample: Sequence[bytes]) -> None:
        """Write the inputs of one inference."""
        for (address, size), content in zip(self._inputs, sample, strict=True):
            if len(content) != size:
                raise ToolError(f"an input has {len(content):,} B, the model takes {size:,} B")
            self._machine.write(address, content)

    def copy_inputs(self, other: _Model) -> None:
        """Take over the inputs that ``other`` was given."""
        self.write_inputs([other._machine.read(*place) for place in other._inputs])

    def run(self) -> None:
        """Run one inference."""
        status = self._call(self._run, self._arena)
        if status != 0:
            raise ToolError(f"the simulated model's run returned {status:#x}")

    def read_outputs(self) -> tuple[bytes, ...]:
        """Return the outputs of the last inference."""
        return tuple(self._machine.read(*place) for place in self._outputs)

    def stack_bytes(self) -> int:
        """Return the deepest use of the stack since it was painted; ToolError when it is more
        than the linker script reserves."""
        stack = self._machine.read(self._free, self._stack_top - self._free)
        used = len(stack.lstrip(bytes([PAINT])))
        if used > self._reserved:
            raise ToolError(
                f"the model's stack overflows: it takes {used:,} B, reserved are "
                f"{self._reserved:,} B",
                hint="report this as a bug, with the model",
            )
        return used

    def arena_used(self) -> int:
        """Return the arena's bytes up to the last one that was ever written."""
        arena = self._machine.read(self._arena, self._arena_bytes)
        return len(arena.rstrip(bytes([PAINT])))

    def _call(self, function: int, *arguments: int) -> int:
        return self._machine.call(function & ~1, arguments, self._stack_top, _TIMEOUT_S)

    def _addresses(self, function: int, count: int, infos: int) -> list[tuple[int, int]]:
        places = []
        for i in range(count):
            size = self._machine.words(infos + i * _TENSOR_INFO_BYTES, 3)[2]
            places.append((self._call(function, self._arena, i), size))
        return places
