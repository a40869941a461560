"""The ``.tflite`` files of the corpus, by fixed seeds."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import flatbuffers
import numpy as np

from benchmarks.random_nets import random_net
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops import OPS
from edgebuild.tflite import schema
from edgebuild.tflite.writer import write_tflite
from tests.integration.test_random_graphs import random_graph
from tests.single_ops import MAKERS, base
from tests.small import small_graph, small_model

MICRO = ("cortex-m4", "cortex-m0plus", "cortex-m7", "cortex-m33", "host", "nucleo-f446re")
PHONES = ("android-cpu", "android-gpu", "android-nnapi", "coral-usb")
OTHER_FORMATS = ("float32", "int16", "uint8", "int32")


@dataclass(frozen=True)
class Case:
    """One model file, the target it is meant for, and flags of both commands.

    ``data`` is the ``--data`` of both: none for files that are quantized already.
    """

    name: str
    content: bytes
    target: str
    flags: tuple[str, ...] = ()
    data: str | None = None
    suffix: str = "tflite"


def tflite_cases() -> list[Case]:
    """Return all of them; the same names and bytes each time."""
    found = [*_operators(), *_kernels(), *_networks(), *_damaged(), *_odd()]
    names = [case.name for case in found]
    assert len(names) == len(set(names))
    return found


def _operators() -> Iterator[Case]:
    """Every kind of operator with int8 numbers, and in turn one other format of each."""
    targets, others = itertools.cycle((*MICRO, *PHONES)), itertools.cycle(OTHER_FORMATS)
    for kind in MAKERS:
        for form in ("int8", next(others)):
            try:
                content = write_tflite(base(kind, form).graph(kind.lower()))
            except (KeyError, ValueError, OverflowError):  # no such form
                continue
            data = "random" if form == "float32" else None
            yield Case(f"{kind.lower()}-{form}", content, next(targets), data=data)


def _kernels() -> Iterator[Case]:
    """Two forms of each supported operator, from those that its kernel is tested with."""
    targets = itertools.cycle(MICRO)
    for kind, operator in OPS.items():
        cases = list(operator.cases())
        for case in cases[:: max(1, len(cases) // 2)][:2]:
            name = f"kernel-{kind.lower()}-{case.name.replace(' ', '_').replace('/', '_')}"
            yield Case(name, write_tflite(case.graph), next(targets))


def _networks() -> Iterator[Case]:
    targets = itertools.cycle(MICRO)
    for seed in range(500, 512):
        yield Case(f"graph-{seed}", write_tflite(random_graph(seed)), next(targets))
    for seed in range(700, 716):
        yield Case(f"net-{seed}", write_tflite(random_net(seed)), next(targets))
    limits = ("--max-flash", "12KiB"), ("--max-ram", "2KiB"), ("--max-latency", "1ms")
    for seed, flags in enumerate(limits * 2):
        given = small_model(channels=8 + 8 * seed, seed=seed)
        yield Case(f"limited-{seed}", given, ("cortex-m4", "cortex-m0plus")[seed % 2], flags)


def _damaged() -> Iterator[Case]:
    whole = small_model()
    rng = random.Random(14)
    targets = itertools.cycle(("cortex-m4", "host", "android-cpu"))
    for length in (0, 3, 8, 100, *range(400, len(whole), len(whole) // 10)):
        yield Case(f"cut-{length}", whole[:length], next(targets))
    for number in range(30):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            # Tables are at the end: most flips go where structure is.
            content[len(whole) - 1 - int(rng.expovariate(1 / 700)) % len(whole)] ^= (
                1 << rng.randrange(8)
            )
        yield Case(f"flipped-{number}", bytes(content), next(targets))


def edited(model: bytes, edit) -> bytes:
    """Return ``model`` after ``edit`` has changed its flatbuffer objects."""
    s = schema.module()
    unpacked = s.ModelT.InitFromPackedBuf(model, 0)
    edit(s, unpacked)
    builder = flatbuffers.Builder(1024)
    builder.Finish(unpacked.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def with_offline_plan(model: bytes) -> bytes:
    """Return ``model`` with a memory plan of its own: every tensor where TFLite Micro puts it."""

    def add(s, given):
        count = len(given.subgraphs[0].tensors)
        plan = s.BufferT()
        words = np.array([1, 0, count, *[-1] * count], np.int32)
        plan.data = np.frombuffer(words.tobytes(), np.uint8)
        entry = s.MetadataT()
        entry.name, entry.buffer = b"OfflineMemoryAllocation", len(given.buffers)
        given.buffers.append(plan)
        given.metadata = [entry]

    return edited(model, add)


def _two_subgraphs(s, given):
    given.subgraphs.append(given.subgraphs[0])


def with_foreign_metadata(model: bytes) -> bytes:
    """Return ``model`` with TFLite metadata that nobody can read."""
    return edited(model, _foreign_metadata)


def _foreign_metadata(s, given):
    entry, buffer = s.MetadataT(), s.BufferT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(given.buffers)
    buffer.data = np.arange(64, dtype=np.uint8)
    given.buffers.append(buffer)
    given.metadata = [entry]


def _dynamic_batch(s, given):
    for tensor in given.subgraphs[0].tensors:
        if tensor.buffer == 0:
            tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)


def _dynamic_side(s, given):
    tensor = given.subgraphs[0].tensors[0]
    tensor.shapeSignature = np.array([1, -1, 8, 1], np.int32)


def _twice(s, given):
    graph = given.subgraphs[0]
    graph.outputs = [*graph.outputs, *graph.outputs]


def _no_operators(s, given):
    given.subgraphs[0].operators = []


def _bias_axis(s, given):
    for tensor in given.subgraphs[0].tensors:
        if tensor.name == b"conv/b":
            tensor.quantization.quantizedDimension = 3


def _zero_scale(s, given):
    for tensor in given.subgraphs[0].tensors:
        if tensor.name == b"logits":
            tensor.quantization.scale = np.zeros(1, np.float32)


EDITS = (
    _two_subgraphs, _foreign_metadata, _dynamic_batch, _dynamic_side, _twice, _no_operators,
    _bias_axis, _zero_scale,
)  # fmt: skip


def _odd() -> Iterator[Case]:
    whole = small_model()
    targets = itertools.cycle(("cortex-m4", "host", "android-cpu", "android-nnapi"))
    for target in ("cortex-m4", "host", "android-cpu", "cortex-m7"):
        yield Case(f"offline-plan-{target}", with_offline_plan(whole), target)
    for edit in EDITS:
        for target in (next(targets), next(targets)):
            yield Case(f"{edit.__name__[1:]}-{target}", edited(whole, edit), target)
    graph = small_graph()
    custom = graph.replace(ops=(*graph.ops[:-1], Op("CUSTOM Invented", (11,), (12,))))
    for target in ("cortex-m4", "android-cpu"):
        yield Case(f"custom-{target}", write_tflite(custom), target)
    for kind, target in itertools.product(("FULLY_CONNECTED", "ABS"), ("cortex-m4", "android-cpu")):
        content = write_tflite(base(kind, "float32").graph())
        yield Case(f"without-data-{kind.lower()}-{target}", content, target, ("--format", "int8"))
    yield Case("no-model", b"\x00" * 2000, "cortex-m4")
    yield Case("text", b"a model\n" * 40, "host")
    yield Case("wide", write_tflite(wide(600_000)), "cortex-m4")
    yield Case("wide-m0", write_tflite(wide(251_000)), "cortex-m0plus")
    yield Case("heavy", write_tflite(heavy(1_300)), "cortex-m4")
    yield Case("heavy-m0", write_tflite(heavy(700)), "cortex-m0plus")
    yield Case("heavy-f446", write_tflite(heavy(720)), "nucleo-f446re")
    for number, extra in enumerate((-3000, -1500, 0, 1500)):
        flags = ("--max-flash", str(16_000 + extra))
        yield Case(f"near-{number}", whole, "cortex-m4", flags)
    for number, flags in enumerate((
        ("--format", "dynamic"), ("--format", "float32"), ("--fail-on", "fallback"),
        ("--toolchain", "gcc"), ("--run", "none"), ("--run", "qemu"),
    )):  # fmt: skip
        for target in ("cortex-m4", "android-gpu"):
            yield Case(f"flags-{number}-{target}", whole, target, flags)


def wide(values: int) -> Graph:
    """Return a graph whose two activations take so many bytes each."""
    q = Quantization((0.1,), (0,))
    tensors = [Tensor(i, f"t{i}", (1, values), DType.INT8, q) for i in range(2)]
    ops = (Op("RELU", (0,), (1,)),)
    return Graph("wide", (0,), (1,), ops, {t.index: t for t in tensors})


def heavy(units: int) -> Graph:
    """Return a graph of one dense layer with the square of ``units`` weights."""
    q = Quantization((0.1,), (0,))
    rng = np.random.default_rng(units)
    weights = rng.integers(-127, 128, (units, units), dtype=np.int8)
    ends = [Tensor(i, f"t{i}", (1, units), DType.INT8, q) for i in (0, 2)]
    held = Tensor(1, "w", weights.shape, DType.INT8, Quantization((0.01,), (0,)), weights)
    attrs = {"fused_activation_function": "NONE", "weights_format": "DEFAULT"}
    tensors = {t.index: t for t in (*ends, held)}
    return Graph("heavy", (0,), (2,), (Op("FULLY_CONNECTED", (0, 1, -1), (2,), attrs),), tensors)


def renamed(case: Case, **changes: object) -> Case:
    """Return ``case`` with some fields changed."""
    return dataclasses.replace(case, **changes)
