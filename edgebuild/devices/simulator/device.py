"""The simulator as a Device: model functions called directly, counted, timed, watched."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.cycles.traffic import Reads
from edgebuild.cycles.waits import Layer, MemoryModel, Waits, latency_figures, layer_waits
from edgebuild.devices.base import LayerSample, RunResult, Samples
from edgebuild.devices.simulator.code import Ran, RunCode, pieces_behind, within
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
PARAMETERS = r"\w+_params"
"""The layers' parameter structures, as the generated C calls them."""


@dataclass(frozen=True)
class LayerTrace:
    """The code that a layer ran, and its loads of its parameters; ``layer`` is None for what comes
    behind the last one."""

    layer: int | None
    code: RunCode
    parameters: int

    @property
    def instructions(self) -> int:
        """Executed instructions."""
        return sum(one.count * one.cost.instructions for one in self.code.ran)

    @property
    def cycles(self) -> int:
        """Modelled cycles with zero wait states."""
        return sum(
            one.count * (one.cost.taken if one.block.taken else one.cost.not_taken)
            for one in self.code.ran
        )


class Simulator:
    """Runs the firmware's model on an emulated Cortex-M.

    Args:
        image: firmware with ``eb_app_model`` and ``eb_arena``, compiled with ``EB_PROFILE``.
        core: e.g. ``cortex-m4``; ToolError for one that cannot be emulated.
        regions: the target's memory; nothing else exists.
        clock_hz: turns cycles into latency; None leaves the latency unknown.
        memory: how fast the regions are; None for zero wait states.
        reads: of each layer the kernel's name, and what it reads of constants and activations.
    """

    def __init__(
        self,
        image: Image,
        core: str,
        regions: Sequence[Region],
        clock_hz: int | None = None,
        memory: MemoryModel | None = None,
        reads: Sequence[tuple[str, tuple[Reads, ...]]] = (),
    ) -> None:
        check_core(core)
        self._image, self._core = image, core
        self._regions, self._clock_hz = tuple(regions), clock_hz
        self._memory, self._reads = memory, tuple(reads)
        self.raw_instructions = 0
        """Instructions from entering ``run`` to its return, the layer hook's included."""
        self.traces: tuple[LayerTrace, ...] = ()
        """What each layer ran, in order; what comes behind the last one has no number."""

    def run(self, samples: Samples) -> RunResult:
        """Run every sample; the first one is counted, further ones run at full speed."""
        machine = Machine(self._image.elf, self._core, self._regions)
        model = _Model(machine)
        outputs = []
        for number, sample in enumerate(samples):
            model.write_inputs(sample)
            if number == 0:
                self.traces = self._count(model)
            else:
                model.run()
            outputs.append(model.read_outputs())
        if not outputs:
            raise ToolError("the simulator has no sample to run")
        return self._result(model, tuple(outputs))

    def _count(self, model: _Model) -> tuple[LayerTrace, ...]:
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
        loads = self._parameter_loads(model)
        traces = tuple(_layer_trace(machine, decoder, segment, loads) for segment in trace.segments)
        hook = _layer_trace(machine, decoder, trace.hook, Counter())
        self.raw_instructions = sum(one.instructions for one in (*traces, hook))
        return traces

    def _parameter_loads(self, model: _Model) -> Counter[int | None]:
        """Return how often each layer loads from its parameters."""
        # In a run of its own: beside a hook for loads, unicorn leaves out some of the blocks.
        machine = Machine(self._image.elf, self._core, self._regions)
        twin = _Model(machine)
        twin.copy_inputs(model)
        objects = machine.objects(PARAMETERS)
        loads: Counter[int] = Counter()

        def callback(_uc: Any, _kind: int, address: int, *_load: object) -> None:
            loads[address] += 1

        if objects:
            start, end = min(a for a, _, _ in objects), max(a + size for a, size, _ in objects)
            machine.add_load_hook(callback, start, end - 1)
        twin.run()
        found: Counter[int | None] = Counter()
        for start, size, layer in objects:
            # A step in bands has several.
            found[layer] += sum(loads[address] for address in range(start, start + size))
        return found

    def _result(self, model: _Model, outputs: tuple[tuple[bytes, ...], ...]) -> RunResult:
        name = Decoder(self._core).timing.name
        cycles = sum(trace.cycles for trace in self.traces)
        instructions = sum(trace.instructions for trace in self.traces)
        each, waits = self._waits()
        latency, zero_wait = None, None
        slow = self._memory.slow if self._memory else ()
        if self._clock_hz:
            latency, zero_wait = latency_figures(
                cycles, waits, self._clock_hz, slow, How.MODELLED, name
            )
        layers = tuple(
            LayerSample(
                trace.layer,
                trace.instructions,
                trace.cycles,
                wait_cycles=round(wait.high) if slow else None,
            )
            for trace, wait in zip(self.traces, each, strict=True)
            if trace.layer is not None
        )
        return RunResult(
            device=f"simulated {self._core}",
            outputs=outputs,
            instructions=Figure(instructions, "instructions", How.MEASURED, "simulator"),
            cycles=Figure(cycles, "cycles", How.MODELLED, name),
            latency_us=latency,
            zero_wait_us=zero_wait,
            layers=layers,
            stack_bytes=Figure(model.stack_bytes(), "B", How.MEASURED, "simulator (painted stack)"),
            arena_bytes=Figure(model.arena_used(), "B", How.MEASURED, "simulator (painted arena)"),
        )

    def _waits(self) -> tuple[tuple[Waits, ...], Waits]:
        memory = self._memory
        if memory is None:
            return (Waits(),) * len(self.traces), Waits()
        regions = dict.fromkeys(
            region for role in ("code", "kernels") for region in memory.placement.of(role)
        )
        layers = []
        for trace in self.traces:
            parts = {r: within(trace.code, r.origin, r.end) for r in regions}
            kernel, reads = ("", ()) if trace.layer is None else self._reads[trace.layer]
            code = {region: part for region, part in parts.items() if part.ran}
            layers.append(Layer(code, reads, trace.cycles, kernel, trace.parameters))
        return layer_waits(layers, memory)


def _layer_hook(trace: BlockTrace, machine: Machine) -> Any:
    def callback(_uc: Any, _address: int, _size: int, _user: object) -> None:
        trace.layer_done(machine.register("R0"), machine.register("LR"))

    return callback


def _layer_trace(
    machine: Machine, decoder: Decoder, segment: Segment, loads: Counter[int | None]
) -> LayerTrace:
    blocks = segment.blocks()
    sizes = {block.address: block.size for block, _ in blocks}
    ran = []
    for block, count in blocks:
        piece = machine.code(block.address, block.size)
        behind = () if block.taken else pieces_behind(block, sizes)
        rest = b"".join(machine.code(*place) for place in behind)
        ran.append(Ran(block, count, decoder.cost_before(piece, rest)))
    code = RunCode(tuple(ran), tuple(segment.windows))
    return LayerTrace(segment.layer, code, loads[segment.layer])


class _Model:
    """The ``eb_model`` that a machine's firmware points to, initialised and painted."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        table = machine.words(machine.words(machine.symbol("eb_app_model"), 1)[0], _MODEL_WORDS)
        _, self._arena_bytes, _, n_in, n_out, inputs, outputs = table[:7]
        self._init, self._run, input_, output = table[7:]
        self._arena = machine.symbol("eb_arena")
        self._banks = [
            (self._arena, self._arena_bytes),
            *(place[:2] for place in machine.objects("eb_arena")),
        ]
        self._stack_top = machine.symbol("__stack_top")
        self._reserved = self._stack_top - machine.symbol("__stack_bottom")
        # Down to the last static variable: a stack that leaves its room is seen.
        self._free = machine.symbol("__ram_free")
        for address, size in self._banks:
            machine.write(address, bytes([PAINT]) * size)
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
        """Return the arena's bytes up to the last one that was ever written, summed over its
        banks."""
        banks = (self._machine.read(*bank) for bank in self._banks)
        return sum(len(bank.rstrip(bytes([PAINT]))) for bank in banks)

    def _call(self, function: int, *arguments: int) -> int:
        return self._machine.call(function & ~1, arguments, self._stack_top, _TIMEOUT_S)

    def _addresses(self, function: int, count: int, infos: int) -> list[tuple[int, int]]:
        places = []
        for i in range(count):
            size = self._machine.words(infos + i * _TENSOR_INFO_BYTES, 3)[2]
            places.append((self._call(function, self._arena, i), size))
        return places
