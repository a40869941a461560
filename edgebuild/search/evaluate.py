"""Try one candidate, in a worker process: its shape, its cost on the target, then its training."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgebuild.compress.base import Context, Pass, State
from edgebuild.errors import CheckFailedError, EdgebuildError
from edgebuild.files import TemporaryFolder
from edgebuild.models.worker import unexpected
from edgebuild.ops import KernelCall
from edgebuild.profile import Optimize
from edgebuild.search.problem import Outcome, Problem, Task, Way
from edgebuild.toolchain.cache import cache_dir

_GRADUAL_EPOCHS = 8
_GRADUAL_STEPS = 3
_CERTAINLY = 1.05  # predictions are within 1 %, see benchmarks/cycles.py
_SAMPLES = 4  # all zero, all highest, all lowest, and a random one
_TABLE_ENTRY = 4
_one_at_a_time = threading.Lock()
"""Keras's names and seeds are global: a process that runs several tasks runs them in turn."""


def evaluate(problem: Problem, task: Task) -> Outcome:
    """Build a candidate's shape and cost; train it when ``task`` says so and its cost fits.

    Raises what the passes raise; for what nobody has foreseen InternalError, with a log, and
    ToolError when memory ran out.
    """
    try:
        return _evaluate(problem, task)
    except (EdgebuildError, MemoryError):
        raise
    except Exception as error:  # of TensorFlow: the search goes on without this candidate
        raise unexpected(error, "a candidate of the search") from error


def _evaluate(problem: Problem, task: Task) -> Outcome:
    from edgebuild.compress.recipe import recipe_from_json, recipe_to_json

    start = time.monotonic()
    with _one_at_a_time:
        context = context_of(problem)
        steps = explicit(recipe_from_json(task.recipe), context)
        shape = apply_untrained(steps, State(context.teacher), context)
        way = Way(task.tool or problem.toolchain, task.optimize)
        found = _cost(problem, shape, way, task.limits.latency_us)
        if task.epochs and found.settled(task.table_bytes).fits(task.limits):
            context = context_of(problem)  # Keras's names begin anew, as in the build of the recipe
            steps = with_epochs(steps, task.epochs)
            state = State(context.teacher)
            for step in steps:
                state, _ = step.apply(state, context)
            found = _cost(problem, state, way)
            quality = _quality(state, context)
            kept = _kept(state, context)
            found = dataclasses.replace(
                found,
                quality=quality.value,
                measure=quality.measure,
                similarity=kept.similarity,
                error_increase=kept.error_increase,
                epochs=task.epochs,
            )
    return dataclasses.replace(
        found,
        recipe=tuple(recipe_to_json(steps)),
        seconds=round(time.monotonic() - start, 3),
    )


def explicit(recipe: Sequence[Pass], context: Context) -> tuple[Pass, ...]:
    """Return ``recipe`` with its prunings as one that names what each layer keeps.

    Which channels go from which layer depends on the weights, and training between changes those:
    named, the shape that was costed is the shape that is trained and built. A pass that changes
    nothing is left out.
    """
    from edgebuild.compress.prune import Prune, layer_ratios

    steps: list[Pass] = []
    state = before = State(context.teacher)
    for step in recipe:
        if not isinstance(step, Prune):
            if step.name != "quantize":
                state, last = apply_untrained([step], state, context), state
                if state is last:
                    continue
            steps.append(step)
            continue
        if not (steps and isinstance(steps[-1], Prune)):
            before = state
            steps.append(step)
        state = apply_untrained([step], state, context)
        steps[-1] = dataclasses.replace(
            step, by="channels", ratio=0.0, layers=layer_ratios(before.model, state.model)
        )
    return tuple(s for s in steps if not (isinstance(s, Prune) and not s.layers))


def with_epochs(steps: Sequence[Pass], epochs: int) -> tuple[Pass, ...]:
    """Return ``steps`` with so many epochs for the last one that trains, none for those before.

    A ``scale`` before it has as many: what its new weights are worth is told when they have learnt.
    """
    training = [i for i, step in enumerate(steps) if _trains(step)]
    made = []
    for i, step in enumerate(steps):
        if i in training:
            last = i == training[-1]
            changes: dict[str, Any] = {"epochs": epochs if last or step.name == "scale" else 0}
            if last and hasattr(step, "steps"):
                changes["steps"] = _GRADUAL_STEPS if epochs >= _GRADUAL_EPOCHS else 1
            step = dataclasses.replace(step, **changes)  # type: ignore[type-var]
        made.append(step)
    return tuple(made)


def _trains(step: Pass) -> bool:
    return hasattr(step, "epochs") and step.name != "quantize"


def apply_untrained(steps: Sequence[Pass], state: State, context: Context) -> State:
    """Return the shape that ``steps`` make, without their training."""
    from edgebuild.compress.recipe import untrained

    for step in steps:
        state, _ = untrained(step).apply(state, context)
    return state


def context_of(problem: Problem) -> Context:
    """Return the context that a build of the recipe has too."""
    from edgebuild.compress.apply import open_original, training_setup

    with TemporaryFolder("search") as folder:
        path = Path(folder) / f"model.{problem.kind}"
        path.write_bytes(problem.model)
        original = open_original(
            *(path, problem.kind),
            trust=problem.trust,
            seed=problem.seed,
            shapes=problem.shapes,
        )
    return Context(
        problem.train,
        problem.validation,
        original,
        training_setup(problem.training, problem.entry_folder),
        features=problem.target.cpu.features,
        seed=problem.seed,
        checkpoints=cache_dir() / "training" / (problem.checkpoints or problem.key[:24]),
        trust=problem.trust,
    )


def _cost(problem: Problem, state: State, way: Way, most_us: float | None = None) -> Outcome:
    """Compile in one ``way``, link and run what ``state`` has become, as a build does.

    It is not run when the predicted latency is well above ``most_us``: that is then the figure.
    """
    from edgebuild.backends import backend_for
    from edgebuild.compress.costs import model_cost
    from edgebuild.cycles import predict_cycles
    from edgebuild.passes import supported_graph
    from edgebuild.pipeline.steps import target_metrics
    from edgebuild.tflite.reader import read_tflite
    from edgebuild.verification import make_samples

    assert state.flatbuffer is not None
    found = Outcome(
        (), 0, macs=model_cost(state.model).macs,
        sha256=hashlib.sha256(state.flatbuffer).hexdigest(), tool=way.tool,
        optimize=way.optimize,
    )  # fmt: skip
    source = read_tflite(state.flatbuffer, name=problem.name, where="the candidate")
    graph = supported_graph(source, where="the candidate").graph
    backend = backend_for(problem.target.family)
    target = problem.target.optimized(Optimize(way.optimize))
    emitted = backend.emit(graph, source, state.flatbuffer, problem.name, target)
    tables = sum(_table_bytes(call) for call in emitted.calls)
    found = dataclasses.replace(found, table_bytes=tables)
    with TemporaryFolder("search") as folder:
        try:
            compiled = backend.compile(emitted, target, way.tool, Path(folder), lambda _: None)
        except CheckFailedError as error:
            return dataclasses.replace(found, too_large=error.message)
        result = None
        prediction = predict_cycles(emitted.graph, target, emitted.calls)
        predicted = prediction.latency_us if prediction else None
        hopeless = most_us and predicted and predicted.least > most_us * _CERTAINLY
        if problem.run != "none" and not hopeless:
            samples = make_samples(graph, _SAMPLES, problem.seed)
            result = compiled.open_device(problem.run).run(samples)
    metrics = target_metrics(emitted, compiled, result)
    latency = metrics.latency_us or predicted
    cycles = result.cycles.value if result and result.cycles else None
    return dataclasses.replace(
        found,
        flash_bytes=_whole(metrics.flash_bytes),
        ram_bytes=_whole(metrics.ram_bytes),
        latency_us=latency.value if latency else None,
        cycles=None if cycles is None else round(cycles),
        predicted_cycles=prediction.cycles if prediction else None,
    )


def _table_bytes(call: KernelCall) -> int:
    return _TABLE_ENTRY * int(str(call.params.get("table_length", 0)))


def _whole(figure: Any) -> int | None:
    return None if figure is None else round(figure.value)


def _quality(state: State, context: Context) -> Any:
    from edgebuild.compress.quality import state_quality

    return state_quality(state, context.validation, context.teacher)


def _kept(state: State, context: Context) -> Any:
    from edgebuild.compress.quality import quality_kept

    return quality_kept(state, context.validation, context.teacher)
