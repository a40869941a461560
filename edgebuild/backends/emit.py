"""Code generation that every C target shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgebuild.backends.base import Combination, Emitted
from edgebuild.codegen.c_library import Constants, generate_library, plan_for
from edgebuild.codegen.combined import Member, combined_files
from edgebuild.codegen.preprocess import preprocess_functions
from edgebuild.codegen.tflm import OFFLINE_PLAN, has_own_plan, tflm_arena, tflm_files
from edgebuild.cycles.waits import MemoryModel
from edgebuild.errors import InputError
from edgebuild.graph import Graph
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.ops.base import KernelCall
from edgebuild.schedule import Optimize, schedule_graph
from edgebuild.targets import CpuFeatures

LIBRARY = "lib"
"""Folder of the generated library in a build."""

RUNNER = "app"
"""Folder, among the sources of a firmware, of what only the benchmark needs."""

_OWN_PLAN = (
    f"the size of TFLite Micro's arena is left out: the model carries a memory plan of its own "
    f"(metadata {OFFLINE_PLAN}), which TFLite Micro follows"
)


def emit_library(
    graph: Graph,
    name: str,
    cpu: CpuFeatures,
    preprocessing: Preprocessing = NONE,
    memory: MemoryModel | None = None,
    constants: Constants | None = None,
    optimize: Optimize = Optimize.BALANCED,
    kernel_flash: int | None = None,
    calls: Sequence[KernelCall] | None = None,
) -> Emitted:
    """Schedule the graph, plan memory and generate the C library below ``lib/``, with functions for
    ``preprocessing``.

    The arena is split where ``memory`` gives it several regions and it does not fit the first.
    ``constants`` are those of libraries that go into the same program; kernels are chosen to
    ``optimize``, in ``kernel_flash`` bytes, unless they are given as ``calls``.
    """
    if calls is None:
        schedule = schedule_graph(graph, cpu, optimize, memory, kernel_flash)
        schedule.verify(graph)
        graph, calls = schedule.graph, schedule.calls
    plan = plan_for(graph, calls, memory.placement if memory is not None else None)
    library = generate_library(graph, calls, plan, name, preprocessing, constants)
    files = {f"{LIBRARY}/{path}": text for path, text in library.items()}
    prepared = preprocess_functions(graph, preprocessing, name)
    functions = tuple(str(function["name"]) for function in prepared)
    return Emitted(graph, tuple(calls), plan, name, files, functions=functions)


def rows_notes(emitted: Emitted) -> list[str]:
    """Return what became of an input that comes by rows."""
    if not emitted.graph.input_by_rows:
        return []
    (given,) = emitted.graph.input_tensors
    rows = given.shape[1]
    words = f"input by rows: {emitted.entry}() takes {rows:,} rows of {given.nbytes // rows:,} B"
    operators = emitted.calls[0].operators - 1
    if operators:
        first = "operator runs" if operators == 1 else f"{operators} operators run"
        return [f"{words}, the first {first} as they arrive"]
    return [
        f"{words}, but the arena holds all of them: nothing that runs before the last one arrives "
        "makes it smaller at this preference; try --optimize ram"
    ]


def emit_together(
    graphs: Mapping[str, Graph],
    cpu: CpuFeatures,
    *,
    shared: bool,
    preprocessing: Mapping[str, Preprocessing] | None = None,
    optimize: Optimize = Optimize.BALANCED,
) -> Combination:
    """Generate the libraries of several models, by name, for one program: each kernel and each of
    equal constants is in it once.

    ``shared`` makes one arena of all, for models that never run at the same time;
    ``preprocessing`` is that of each model, by name.

    Raises InputError where files of two models have one name.
    """
    constants = Constants()
    before = preprocessing or {}
    models = [
        emit_library(
            graph, name, cpu, before.get(name, NONE), constants=constants, optimize=optimize
        )
        for name, graph in graphs.items()
    ]
    files: dict[str, str] = {}
    for model in models:
        for path, text in model.files.items():
            if files.setdefault(path, text) != text:
                raise InputError(
                    f"two of the models have a file {path}: {', '.join(graphs)}",
                    hint="rename one of the model files",
                )
    members = [Member(m.name, m.graph, m.plan) for m in models]
    made = combined_files(members, shared=shared)
    runner = {f"{RUNNER}/{path}": text for path, text in made.files.items()}
    return Combination(
        tuple(models), files, runner, made.name, made.arena_bytes, constants.borrowed_bytes, shared
    )


def with_tflm_form(emitted: Emitted, source: Graph, model: bytes, core: str) -> Emitted:
    """Add the model for TFLite Micro, which nothing else of a build needs: where it cannot be made,
    it is left out with a note.

    ``source`` is what ``model`` says, before any pass; ``core`` is that of ``tflm_arena``.
    """
    try:
        files = tflm_files(source, model, emitted.name, core)
        if has_own_plan(model):
            return emitted.with_files(files).with_notes(_OWN_PLAN)
        arena = None if core == "host" else tflm_arena(source, core).figure()
    except InputError as error:
        return emitted.with_notes(f"the form for TFLite Micro is left out: {error.message}")
    return emitted.with_files(files, tflm_arena=arena)
