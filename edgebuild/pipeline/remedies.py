"""Question what a build was given, and try remedies where plain quantization loses too much."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebuild.backends.base import Progress
from edgebuild.budget import OF_QUALITY, Metrics
from edgebuild.codegen.names import preprocess_function
from edgebuild.compress.ladder import Climbed, Ladder, Terms
from edgebuild.compress.run import climb_ladder
from edgebuild.compress.splits import Split, Splits, class_numbers, split_data
from edgebuild.errors import EdgebuildError, InputError, ModelError
from edgebuild.files import TemporaryFolder
from edgebuild.judging import judge_outputs
from edgebuild.models.baseline_review import BaselineReview, Predict, review_baseline
from edgebuild.models.calibration_review import Finding, review_calibration
from edgebuild.models.convert import float_outputs, to_tflite
from edgebuild.models.data import DataSet, match_inputs
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.models.source import Kind, SourceModel
from edgebuild.passes import supported_graph
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import LiteRt

FEWEST_SAMPLES = 40
"""Of fewer samples the part that would choose a remedy has no more than six."""


@dataclass(frozen=True, eq=False)
class Review:
    """What is to be said of the given model and data, and what was done about a loss."""

    ladder: Ladder | None = None
    calibration: tuple[Finding, ...] = ()
    baseline: BaselineReview | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What firmware does to inputs before the quantized model reads them."""
        found = self.ladder.preprocessing if self.ladder is not None else None
        return found or NONE


@dataclass(frozen=True, eq=False)
class Remedied:
    """The model to ship, the data to judge it on, and the ladder that led there; ``functions`` of
    the generated C prepare inputs."""

    model: bytes
    data: DataSet
    ladder: Ladder
    functions: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of it."""
        if self.ladder.shipped is None:
            return ()
        notes = [
            f"quantized with {self.ladder.chosen}, chosen on {self.ladder.validated:,} "
            f"validation samples, calibrated with {self.ladder.calibrated:,}"
        ]
        if self.functions:
            named = " and ".join(f"{function}()" for function in self.functions)
            notes.append(
                f"the inputs need a float32 step before the model: {named} in "
                "the generated C, whose time is not part of the latency"
            )
        return tuple(notes)


def is_calibrated(plan: BuildPlan, source: SourceModel) -> bool:
    """Return whether the build calibrates integers by itself: no recipe and no earlier tool did."""
    chosen = any(step.name == "quantize" for step in plan.recipe)
    return plan.format == "int8" and not source.is_int8 and not chosen


def question_baseline(source: SourceModel, data: DataSet | None) -> BaselineReview | None:
    """Return what is wrong with the float model on ``data``, None where nothing is known to be."""
    if data is None or data.is_random or source.is_int8:
        return None
    x = match_inputs(data, source.inputs)
    try:
        outputs = float_outputs(source, x)
        found = []
        for position in range(len(outputs)):
            y = data.labels_of(position)
            if y is None and position and not _is_constant(outputs[position]):
                continue  # one classifier tells of the inputs' scale
            review = review_baseline(_output_of(source, position), x, y, data.label_name(position))
            if review is not None:
                name = source.outputs[position] if len(outputs) > 1 else ""
                found.append(dataclasses.replace(review, output=name))
    except InputError:
        return None  # judging refuses labels that fit no output, and names the output
    return dataclasses.replace(found[0], others=tuple(found[1:])) if found else None


def _is_constant(outputs: np.ndarray) -> bool:
    return len(outputs) > 1 and bool(np.all(outputs == outputs[0]))


def _output_of(source: SourceModel, position: int) -> Predict:
    """Return what gives one output of the float model."""
    return lambda x: float_outputs(source, x)[position]


def question_calibration(
    source: SourceModel, given: DataSet, judged: DataSet | None, drawn: int
) -> tuple[Finding, ...]:
    """Return what is questionable about calibrating with ``drawn`` samples of ``given`` for a build
    that ``judged`` judges."""
    if given.is_random:
        return ()
    names = [tensor.name for tensor in source.inputs]
    labels, others = (None if data is None else class_numbers(data.y) for data in (given, judged))
    return review_calibration(
        _columns(source, given),
        names,
        drawn=min(drawn, len(given)),
        labels=labels,
        judged_labels=others,
        judges=given is judged and judged.has_labels,
        classes=given.classes,
    )


def try_remedies(
    plan: BuildPlan,
    source: SourceModel,
    shown: SourceModel,
    model: bytes,
    data: DataSet,
    train: DataSet | None,
    splits: Splits | None,
    progress: Progress,
) -> Remedied | None:
    """Climb the ladder where ``model`` loses too much on ``data``; None where it does not.

    Args:
        plan: its budget and gate say what is too much.
        source: the original, which is compared with.
        shown: the float model that was quantized, compressed or the original.
        model: that, quantized plainly.
        data: what judges the build.
        train: other data to calibrate and choose with; without it, ``data`` is divided.
        splits: how they are divided already, None where they are whole.
        progress: told what is tried.
    """
    reasons = losses(plan, source, model, data, progress)
    if not reasons:
        return None
    if splits is None:
        given = data if train is None else train
        if len(given) < FEWEST_SAMPLES:
            why = (
                f"{len(given)} samples are too few to choose a remedy: give at least "
                f"{FEWEST_SAMPLES}, or --train"
            )
            return Remedied(model, data, Ladder(reasons, notes=(why,)))
        splits = _divided(source, given, data if train is not None else None, plan.request.seed)
    try:
        best = _climbed(plan, shown, splits, progress)
    except EdgebuildError as error:
        return Remedied(model, data, Ladder(reasons, notes=(f"not tried: {error.message}",)))
    divided = train is None
    judged = part_of(data, splits.test) if divided else data
    ladder = Ladder(
        reasons,
        best.measure,
        best.baseline,
        best.calibrated,
        best.validated,
        len(judged),
        divided,
        best.rungs,
        best.chosen,
        best.preprocessing or None,
        best.notes,
    )
    functions = tuple(
        preprocess_function(plan.name, position, len(source.inputs))
        for position in sorted(best.preprocessing.steps)
    )
    return Remedied(best.content, judged, ladder, functions)


def losses(
    plan: BuildPlan, source: SourceModel, model: bytes, data: DataSet, progress: Progress
) -> tuple[str, ...]:
    """Return what ``model`` loses too much of on ``data``, as LiteRT runs it: by the accuracy gate,
    or by the user's own budget. None of a model that the target does not run."""
    graph = read_tflite(model, name=plan.name, where=str(plan.request.model))
    try:
        if plan.target.delegate is None:
            supported_graph(graph, where=plan.name)
    except InputError:
        return ()  # the steps behind refuse it, in their words
    progress("measuring what quantization loses")
    try:
        found = judge_outputs(source, graph, data, LiteRt(model), budget=plan.budget)
    except ModelError:  # scales that are too far apart for XNNPACK, and not for other kernels
        try:
            plain = LiteRt(model, xnnpack=False)
            found = judge_outputs(source, graph, data, plain, budget=plan.budget)
        except ModelError as error:
            return (f"the quantized model does not run: {error.message}",)
    except InputError:
        return ()
    missed = [
        violation.sentence()
        for violation in plan.budget.check(Metrics(**found.metrics))
        if violation.budget in OF_QUALITY and not violation.unknown
    ]
    lost = [loss.sentence for loss in found.gate.losses] if found.gate is not None else []
    return (*lost, *missed)


def _divided(source: SourceModel, given: DataSet, test: DataSet | None, seed: int) -> Splits:
    """Divide ``given`` as a search divides it; all of ``test`` to judge with where it is there."""
    x = _columns(source, given)
    held = (
        None
        if test is None
        else Split(_columns(source, test), test.y, test.slices, test.more_labels)
    )
    return split_data(x, given.y, seed, given.slices, test=held, more=given.more_labels)


def _columns(source: SourceModel, data: DataSet) -> tuple[np.ndarray, ...]:
    return tuple(array[:, 0] for array in match_inputs(data, source.inputs))


def part_of(data: DataSet, split: Split) -> DataSet:
    """Return the samples of a split as data of their own."""
    return dataclasses.replace(
        data,
        x=split.x,
        y=split.y,
        slices=split.slices,
        more_labels=split.more,
        positions=split.positions,
    )


def _climbed(plan: BuildPlan, shown: SourceModel, splits: Splits, progress: Progress) -> Climbed:
    is_file = shown.kind == Kind.TFLITE  # whose tensors have their own names
    content = shown.content if is_file else to_tflite(shown, None, "float32").model
    request = plan.request
    terms = Terms(request.calibration_samples, request.seed, _int16(plan), plan.budget)
    with TemporaryFolder("ladder") as folder:
        return climb_ladder(
            content, terms, splits, Path(folder), lambda text: progress(f"remedies: {text}")
        )


def _int16(plan: BuildPlan) -> str:
    """Return whether the target runs int16 activations, as a climb's terms say it."""
    delegate = plan.target.delegate
    if delegate is None:
        return "kernels"
    if delegate.kind != "xnnpack":
        return f"not tried: {plan.target.name} gets int8 only"
    if plan.run not in ("host", "none"):
        return f"not tried: generated C has no kernels for them, which --run {plan.run} needs"
    if plan.request.fail_on:
        return "not tried: XNNPACK leaves them to the CPU's plain kernels, which --fail-on forbids"
    return "litert"


def preprocessed(
    data: DataSet | None, inputs: Sequence[object], preprocessing: Preprocessing
) -> DataSet | None:
    """Return ``data`` as the quantized model reads them; ``inputs`` are the original's."""
    if data is None or not preprocessing:
        return data
    arrays = match_inputs(data, inputs)  # type: ignore[arg-type]
    return dataclasses.replace(data, x=preprocessing.apply(arrays))
