"""Measure the code that firmware links; writes edgebuild/code_size/data/<core>.json.

For each core, and each compiler at -O2 and -Os: every kernel in an image of its own, of which the
linker's map tells what belongs to it and what it pulls in; the parameters of each kernel; the
benchmark application with each port of a shipped target; and, for what a model's own code takes,
non-negative least squares over models of many operators. Deterministic. Needs SciPy.

    python benchmarks/measure_code.py [--cores cortex-m4,...] [--tools zig,"zig -Os",...]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cycle_layers import side_by_side
from random_nets import odd_net, random_net
from scipy.optimize import nnls

from edgebuild.backends.accounting import footprint
from edgebuild.backends.base import Emitted
from edgebuild.backends.cortex_m import CortexMBackend
from edgebuild.backends.emit import LIBRARY, emit_library
from edgebuild.code_size.features import (
    FEATURES,
    TEXT,
    called,
    features,
    parameter_types,
    table_bytes,
)
from edgebuild.code_size.fingerprint import sources_sha256
from edgebuild.code_size.predict import DATA, SCHEMA, piece_name
from edgebuild.cycles.kernels import kernel_name
from edgebuild.cycles.waits import memory_model
from edgebuild.graph import Graph
from edgebuild.ops import OPS, KernelCall
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.profile import CORES
from edgebuild.schedule.schedule import FAST_SCRATCH
from edgebuild.targets import TargetProfile, list_targets, load_target
from edgebuild.toolchain import Image, InputSection, input_sections, parse_tool
from edgebuild.toolchain.base import silent

NAME = "model"
TOOLS = ("zig", "zig -Os", "gcc", "gcc -Os")
MODELS = 24
"""Models of several operators for what a model's own code takes."""

MOST_OPERATORS = 14
ROOMY = 8 << 20
WORD_BYTES = 4
"""What the application keeps for each layer."""


def target_for(core: str, banks: int = 1, first_bytes: int = ROOMY) -> TargetProfile:
    """Return the generic profile of ``core`` with room for all, its arena in up to ``banks``, of
    which the first has ``first_bytes``."""
    target = load_target("cortex-m0plus" if core == "cortex-m0" else core)
    flash, ram = (dataclasses.replace(m, size_bytes=ROOMY) for m in target.memories[:2])
    further = [
        dataclasses.replace(ram, name=f"bank{number}", origin=ram.origin + (number + 1) * ROOMY)
        for number in range(banks)
    ]
    further[0] = dataclasses.replace(further[0], size_bytes=first_bytes)
    return dataclasses.replace(
        target,
        cpu=dataclasses.replace(target.cpu, core=core, features=CORES[core]),
        memories=(flash, ram, *further),
        place={} if banks == 1 else {"arena": tuple(m.name for m in further)},
    )


def kernels(core: str) -> dict[str, tuple[Graph, KernelCall]]:
    """Return for each kernel of ``core`` its call in the smallest of the operators' cases that it
    may run."""
    found: dict[str, tuple[Graph, KernelCall]] = {}
    for operator in OPS.values():
        for case in operator.cases():
            node = case.graph.node(0)
            fastest, _ = operator.fastest(node, CORES[core], FAST_SCRATCH[0])
            for call in (*operator.candidates(node, CORES[core]), fastest):
                name = kernel_name(call)
                if name not in found or _bytes(case.graph) < _bytes(found[name][0]):
                    outputs = case.graph.outputs
                    # An input that lives on makes a view copy.
                    outputs += case.graph.inputs if call.view else ()
                    found[name] = case.graph.replace(outputs=outputs), call
    return dict(sorted(found.items()))


def _bytes(graph: Graph) -> int:
    return sum(tensor.nbytes for tensor in graph.tensors.values())


def linked(emitted: Emitted, target: TargetProfile, tool: str) -> tuple[Image, list[InputSection]]:
    """Return the image of ``emitted``, and what takes room in its flash."""
    with tempfile.TemporaryDirectory(prefix="edgebuild-sizes-") as folder:
        compiled = CortexMBackend().compile(emitted, target, tool, Path(folder), silent)
        image = compiled.image
        assert image is not None
        return image, _in_flash(image)


def linked_sizes(
    emitted: Emitted, target: TargetProfile, tool: str, folder: Path
) -> tuple[int, int, int]:
    """Return the flash of the model's code, and flash and RAM of the benchmark firmware around."""
    image = CortexMBackend().compile(emitted, target, tool, folder, silent).image
    assert image is not None
    parts = footprint(image, emitted.name, LIBRARY)
    stored = sum(s.size for s in image.sections if s.in_flash)
    kept = sum(s.size for s in image.sections if s.name in (".data", ".bss"))
    return parts.code + parts.runtime, stored - parts.model_flash, kept - parts.static_ram


def _in_flash(image: Image) -> list[InputSection]:
    ranges = [(s.address, s.address + s.size) for s in image.sections if s.in_flash]
    return [
        section
        for section in input_sections(image.map_file.read_text())
        if any(start <= section.start < end for start, end in ranges)
    ]


def measure_tool(core: str, tool: str) -> dict[str, Any]:
    """Return all that is known of one compiler at one level on ``core``."""
    target = target_for(core)
    pieces: dict[str, int] = {}
    used: dict[str, set[str]] = {}
    parameters: dict[str, int] = {}
    for name, (graph, one) in kernels(core).items():
        emitted = emit_library(graph, NAME, target.cpu.features, calls=[one])
        sections = linked(emitted, target, tool)[1]
        used[name] = _pieces(sections, pieces)
        for node, call in called(emitted.graph, emitted.calls, emitted.plan):
            if call.params_type is not None:
                parameters[call.params_type] = _size_of(sections, f"{NAME}_params{node.position}")
    every = set.intersection(*used.values())
    return {
        "compiler": parse_tool(tool)[0].version(),
        "pieces": dict(sorted(pieces.items())),
        "every": sorted(every),
        "kernels": {name: sorted(found - every) for name, found in sorted(used.items())},
        "parameters": dict(sorted(parameters.items())),
        "model": _model_weights(core, tool, parameters),
        "ports": ports(core, tool),
    }


def _pieces(sections: list[InputSection], pieces: dict[str, int]) -> set[str]:
    """Add the sections of kernels and of what they call to ``pieces``; return their names."""
    found: dict[str, int] = {}
    for section in sections:
        name = piece_name(section)
        if name:
            found[name] = found.get(name, 0) + section.size
    for name, size in found.items():
        assert pieces.setdefault(name, size) == size, f"{name}: {pieces[name]} and {size} B"
    return set(found)


def _size_of(sections: list[InputSection], symbol: str) -> int:
    (size,) = {s.size for s in sections if s.name.endswith(f".{symbol}")}
    return size


def _models(core: str) -> Iterator[Emitted]:
    """Yield models of cases side by side, and networks; every fourth in a split arena."""
    rng = np.random.default_rng(sum(core.encode()))
    cases = [graph for graph, _ in kernels(core).values() if _bytes(graph) < 1 << 14]
    for number in range(MODELS):
        if number % 2:
            graph = (random_net, odd_net)[number // 2 % 2](number)
            graph = run_passes(graph, DEFAULT_PASSES).graph
        else:
            chosen = rng.integers(0, len(cases), int(rng.integers(1, MOST_OPERATORS + 1)))
            graph = side_by_side([cases[i] for i in chosen])
        emitted = emit_library(graph, NAME, CORES[core])
        if number % 8 > 5:
            room = emitted.plan.arena_bytes // 2
            memory = memory_model(target_for(core, 2 + number % 2, room))
            emitted = emit_library(graph, NAME, CORES[core], memory=memory)
        yield emitted


def _model_weights(core: str, tool: str, parameters: Mapping[str, int]) -> dict[str, Any]:
    """Fit what a model's own code takes."""
    rows, sizes = [], []
    names = [name for name in FEATURES if name != TEXT]
    # lld merges strings into a section that belongs to no object.
    weight = 1.0 if tool.startswith("gcc") else 0.0
    for emitted in _models(core):
        target = target_for(core, max(1, len(emitted.plan.bank_bytes)))
        sections = linked(_without_values(emitted), target, tool)[1]
        total = sum(s.size for s in sections if s.object_file.endswith(f"{LIBRARY}/{NAME}.o"))
        types = parameter_types(emitted.graph, emitted.calls, emitted.plan)
        exact = table_bytes(emitted.graph) + sum(parameters[one] for one in types)
        found = features(emitted.graph, emitted.calls, emitted.plan, NAME)
        rows.append([found[name] for name in names])
        sizes.append(total - exact - weight * found[TEXT])
    matrix, values = np.array(rows), np.array(sizes, float)
    solution = nnls(matrix / values[:, None], np.ones(len(values)))[0]
    errors = np.abs(matrix @ solution - values)
    print(
        f"  model: off by {errors.mean():.0f} B on average and {errors.max():.0f} B at most, "
        f"of {values.min():.0f} to {values.max():.0f} B",
        flush=True,
    )
    weights = {name: round(float(w), 3) for name, w in zip(names, solution, strict=True)}
    return {**weights, TEXT: weight}


def _without_values(emitted: Emitted) -> Emitted:
    """Return ``emitted`` with zeros for constants, which compile faster."""
    path = f"{LIBRARY}/{NAME}_weights.c"
    text = re.sub(r"= \{\n[^}]*\};", "= {0};", emitted.files[path])
    return dataclasses.replace(emitted, files={**emitted.files, path: text})


def ports(core: str, tool: str) -> dict[str, list[int]]:
    """Return for each port of a shipped target with ``core`` the least and the most flash, and the
    least and the most RAM, of the benchmark application."""
    graph, _ = kernels(core)["lookup_8"]
    found: dict[str, list[tuple[int, int]]] = {}
    own = "cortex-m0plus" if core == "cortex-m0" else core
    for shipped in list_targets():
        if shipped.firmware is None or shipped.cpu.core != own:
            continue
        target = dataclasses.replace(shipped, cpu=target_for(core).cpu)
        emitted = emit_library(graph, NAME, target.cpu.features)
        with tempfile.TemporaryDirectory(prefix="edgebuild-sizes-") as folder:
            _, application, ram = linked_sizes(emitted, target, tool, Path(folder))
        sizes = application, ram - WORD_BYTES * len(graph.ops)
        found.setdefault(shipped.firmware.port, []).append(sizes)
    return {
        port: [bound(column) for column in zip(*sizes, strict=True) for bound in (min, max)]
        for port, sizes in sorted(found.items())
    }


def main() -> None:
    """Measure the cores and compilers that were asked for, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", default=",".join(CORES))
    parser.add_argument("--tools", default=",".join(TOOLS))
    options = parser.parse_args()
    for core in options.cores.split(","):
        path = DATA / f"{core}.json"
        kept = json.loads(path.read_text())["tools"] if path.is_file() else {}
        for tool in options.tools.split(","):
            print(f"{core}, {tool}", flush=True)
            kept[tool] = measure_tool(core, tool)
        value = {"schema": SCHEMA, "sources_sha256": sources_sha256(), "tools": kept}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
