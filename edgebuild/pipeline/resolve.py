"""From a plan to all that is decided before a compiler runs: the one path of build and check.

A ``check`` ends here and estimates the rest; a ``build`` goes on from here. So both refuse the same
models in the same words, and agree on every figure that needs no compiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgebuild.backends import backend_for, delegate_backend_for
from edgebuild.backends.base import Backend, DelegateBackend, Emitted, Progress, Shipment
from edgebuild.backends.emit import emit_library
from edgebuild.delegates.check import check_compatibility
from edgebuild.errors import InputError
from edgebuild.graph import Graph
from edgebuild.graph.demand import check_outputs
from edgebuild.models.data import DataSet, check_class_names, match_inputs
from edgebuild.models.preprocessing import Preprocessing
from edgebuild.ops.support import unsupported
from edgebuild.passes import READ_PASSES, run_passes, supported_graph
from edgebuild.pipeline.describe import with_metadata
from edgebuild.pipeline.effort import check_data_set, check_run
from edgebuild.pipeline.formats import runnable
from edgebuild.pipeline.loading import Prepared, prepare
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.pipeline.preference import emit_preferred
from edgebuild.tflite.reader import read_tflite
from edgebuild.units import shortened

_SHOWN = 3


@dataclass(frozen=True)
class Loaded(Prepared):
    """A model that generated C can run: ``source_graph`` is what ``model`` says, ``graph`` the same
    after the passes."""

    source_graph: Graph
    graph: Graph


@dataclass(frozen=True)
class Resolved:
    """A model with its generated C. ``loaded.source`` is to be closed by who asked for it."""

    backend: Backend
    loaded: Loaded
    emitted: Emitted

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know so far."""
        return (*self.loaded.notes, *self.emitted.notes)


@dataclass(frozen=True)
class ResolvedShipment:
    """A model that LiteRT runs, with the files beside it."""

    backend: DelegateBackend
    loaded: Prepared
    shipment: Shipment
    files: Mapping[str, str | bytes]
    notes: tuple[str, ...]


def load(plan: BuildPlan, progress: Progress, *, forecast: bool = False) -> Loaded:
    """Prepare the model, read it, check that there are kernels for it, and simplify the graph."""
    prepared = prepare(plan, progress, forecast=forecast)
    try:
        found = runnable(plan, prepared.model, prepared.compressed)
        _check_data(prepared.data, found.source)
    except BaseException:
        prepared.source.close()
        raise
    changed = {"model": found.model, "notes": (*prepared.notes, *found.notes)}
    return Loaded(**{**vars(prepared), **changed}, source_graph=found.source, graph=found.graph)


def resolve(plan: BuildPlan, progress: Progress, *, forecast: bool = False) -> Resolved:
    """Load the model and generate its C.

    ``forecast`` is that of ``prepare``, and answers where calibration data are missing, too.

    Raises:
        CheckFailedError: no compiler could make it fit.
        InputError: nothing else speaks against the build, but calibration data are missing.
    """
    backend = backend_for(plan.target.family)
    loaded = load(plan, progress, forecast=forecast)
    try:
        progress("generating C")
        emitted = emit_preferred(
            plan,
            lambda target: replace(
                backend.emit(
                    *(loaded.graph, loaded.source_graph, loaded.model, plan.name, target),
                    preprocessing=loaded.review.preprocessing,
                ),
                runs=plan.run != "none",
            ),
        )
        backend.check_room(emitted, plan.target)
        _refuse_lack(loaded, forecast)
    except BaseException:
        loaded.source.close()
        raise
    return Resolved(backend, loaded, emitted)


def _refuse_lack(loaded: Prepared, forecast: bool) -> None:
    if loaded.lack is not None and not forecast:
        raise loaded.lack


def _check_data(data: DataSet | None, graph: Graph) -> None:
    """Refuse data that do not fit the finished model; InputError."""
    if data is None:
        return
    if not data.is_random:
        match_inputs(data, graph.input_tensors)
    check_outputs(graph, where=data.source, samples=len(data))
    check_data_set(data.source, graph, len(data))
    check_class_names(data, graph)


def resolve_delegated(
    plan: BuildPlan, progress: Progress, *, forecast: bool = False
) -> ResolvedShipment:
    """Load the model and check what the delegate takes of it; make the files beside it.

    InputError where a run needs generated C and there is none, and where calibration data are
    missing and this is no ``forecast``.
    """
    backend = delegate_backend_for(plan.target.family)
    loaded = prepare(plan, progress, forecast=forecast)
    try:
        shipment, notes = _ship(plan, loaded, backend, progress)
        files = {"model.tflite": shipment.model, **backend.emit(shipment, plan.target)}
        _refuse_lack(loaded, forecast)
    except BaseException:
        loaded.source.close()
        raise
    return ResolvedShipment(backend, loaded, shipment, files, (*loaded.notes, *notes))


def _ship(
    plan: BuildPlan, loaded: Prepared, backend: DelegateBackend, progress: Progress
) -> tuple[Shipment, tuple[str, ...]]:
    """Return the model with its delegate's verdict, generated C and metadata, and notes."""
    graph = read_tflite(loaded.model, name=plan.name, where=str(plan.request.model))
    _check_data(loaded.data, graph)
    progress("checking what the delegate takes")
    found = check_compatibility(graph, plan.target)
    library, notes = _library(plan, graph, backend, loaded.review.preprocessing, progress)
    labels = _labels(loaded, graph)
    model = loaded.model
    if backend.has_metadata:
        try:
            model = with_metadata(
                *(model, graph, plan.name),
                labels=labels,
                sets=loaded.sets,
                normalization=plan.request.normalization,
                preprocessing=loaded.review.preprocessing,
            )
        except InputError as error:
            if plan.request.normalization:
                raise
            notes = (*notes, f"TFLite metadata is left out: {error.message}")
    return Shipment(plan.name, model, graph, found, labels, library), notes


def _library(
    plan: BuildPlan,
    graph: Graph,
    backend: DelegateBackend,
    preprocessing: Preprocessing,
    progress: Progress,
) -> tuple[Emitted | None, tuple[str, ...]]:
    """Return the generated C beside the model where there are kernels for it, and notes."""
    reasons = without_library(graph)
    if reasons and plan.run not in ("host", "none"):
        raise InputError(
            f"{plan.name}: this build has no generated C that could run on {plan.run}",
            details=shortened(reasons, _SHOWN),
            hint="--format int8, or leave --run out",
        )
    if not backend.has_library:
        return None, ()
    if reasons:
        more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        return None, (f"no generated C beside it: {'; '.join(reasons[:_SHOWN])}{more}",)
    progress("generating C")
    simple = supported_graph(graph, where=str(plan.request.model))
    check_run(plan, simple.graph)
    features = plan.target.cpu.features
    graph = simple.graph.replace(keeps_inputs=plan.target.keep_inputs)
    return emit_library(graph, plan.name, features, preprocessing), simple.notes


def without_library(graph: Graph) -> list[str]:
    """Return why there is no generated C for ``graph``; empty when there is."""
    return unsupported(run_passes(graph, READ_PASSES).graph).reasons()


def _labels(loaded: Prepared, graph: Graph) -> tuple[str, ...]:
    """Return the names of the classes where the data has one for each value of the output."""
    classes = loaded.data.classes if loaded.data is not None else ()
    shape = graph.output_tensors[0].shape
    return classes if shape and len(classes) == shape[-1] else ()
