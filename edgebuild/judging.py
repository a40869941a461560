"""What the shipped model is worth: its outputs on a data set beside the labels and the float
model's, and whether so much was lost that the build does not pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.budget import Budget
from edgebuild.errors import InputError
from edgebuild.figures import Figure, How
from edgebuild.graph import DType, Graph, Tensor
from edgebuild.models.accuracy import Judged, Labels, labels_for, real_threshold
from edgebuild.models.calibration_review import Finding, find_outliers, table_of
from edgebuild.models.causes import OUTLIER
from edgebuild.models.convert import float_outputs
from edgebuild.models.data import DataSet, dequantize, match_inputs, quantize_input
from edgebuild.models.last_activation import graph_gives_probability
from edgebuild.models.output_parts import bounded_steps, output_cuts
from edgebuild.models.source import SourceModel
from edgebuild.report.accuracy import AccuracyReport, SimilarityReport, without
from edgebuild.report.gate import AccuracyGate, Cause, Loss, find_losses
from edgebuild.report.judge import accuracy_report
from edgebuild.report.outputs import (
    constant_parts,
    regression_report,
    similarity_report,
    without_outliers,
)
from edgebuild.report.regression import RegressionReport
from edgebuild.units import quoted
from edgebuild.verification import Engine

NO_BUDGET = Budget()
_NAMED = 3
_LABELS = (
    "labels are, for each sample, a class number from 0 on, a one-hot row, or as many values as "
    "the output has; for a sequence or mask a class number for each position"
)


@dataclass(frozen=True)
class Judgement:
    """What there is to say of the outputs; None for what the data or the model do not tell."""

    accuracy: AccuracyReport | None = None
    regression: RegressionReport | None = None
    similarity: SimilarityReport | None = None
    gate: AccuracyGate | None = None
    metrics: dict[str, Figure | None] = dataclasses.field(default_factory=dict)
    suspects: tuple[Cause, ...] = ()
    """Samples that judge and are outliers, where the loss is theirs alone."""
    missed: tuple[Loss, ...] = ()
    """Where a budget of similarity or error is missed."""


@dataclass(frozen=True, eq=False)
class _Output:
    """One output on the whole data set: ``ours`` as it comes, the same as ``real`` numbers, the
    float model's ``original`` (None without one), all (samples, \\*shape), and its labels."""

    position: int
    tensor: Tensor
    ours: np.ndarray
    real: np.ndarray
    original: np.ndarray | None
    reference: np.ndarray | None
    labels: Labels | None
    threshold: float
    cut: float

    def as_values(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs in the form of labels that are values: (samples, positions, channels)."""
        assert self.labels is not None and self.labels.values is not None
        return np.asarray(outputs, np.float64).reshape(self.labels.values.shape)


@dataclass(frozen=True)
class _Unfit:
    """What cannot be judged of an output; ``lost``: that itself is a loss."""

    sentence: str
    lost: bool = False


def judge_outputs(
    source: SourceModel,
    graph: Graph,
    data: DataSet,
    engine: Engine,
    *,
    fed: DataSet | None = None,
    reference: Engine | None = None,
    budget: Budget = NO_BUDGET,
    gate: bool = True,
) -> Judgement:
    """Judge the shipped model, as ``engine`` runs it, on all of ``data``.

    The models are the float one, the shipped one, and where ``reference`` is given the shipped one
    in another engine. ``budget`` takes the place of the accuracy gate's limits and is what reports
    warn of when the samples cannot tell. Without ``gate`` losses are found and do not count.
    ``fed`` is the data as the shipped model reads them, where that is not what the original reads.

    Raises InputError for labels that do not fit the model.
    """
    if source.is_int8 and not data.has_labels:
        return Judgement()
    outputs, unfit = _outputs(source, graph, data, fed or data, engine, reference)
    accuracy = _accuracy(outputs, data, budget, engine, reference, source)
    given, outlying = _outlying(source, data, outputs)
    regression = _regression(outputs, data, budget, outlying.samples)
    similarity = _similarity(outputs, graph, data, budget, given.samples)
    found = None
    if not data.is_random and (unfit or any(out.original is not None for out in outputs)):
        constant = _constant(outputs, graph, data, given.samples)
        losses, warnings = find_losses(accuracy, regression, similarity, constant, budget)
        warnings = (*warnings, *_told(outlying, regression, similarity))
        lost = tuple(Loss("not-finite", one.sentence) for one in unfit if one.lost)
        said = tuple(one.sentence for one in unfit if not one.lost)
        found = AccuracyGate(gate, (*lost, *losses), warnings=(*said, *warnings))
    metrics = quality_metrics(
        accuracy, regression, None if data.is_random else similarity, engine.label
    )
    suspects = _suspects(given, similarity)
    missed = (*_below(similarity, budget), *_above(regression, budget))
    return Judgement(accuracy, regression, similarity, found, metrics, suspects, missed)


def _below(similarity: SimilarityReport | None, budget: Budget) -> Iterator[Loss]:
    for one in (similarity, similarity.usual if similarity else None):
        for row in one.channels if one and budget.min_similarity is not None else ():
            if row.judged and row.similarity < (budget.min_similarity or 0.0):
                yield Loss("similarity", "", row.output, (row.channel,))


def _above(regression: RegressionReport | None, budget: Budget) -> Iterator[Loss]:
    limit = budget.max_error_increase
    for one in (regression, regression.usual if regression else None):
        for row in one.channels if one and limit is not None else ():
            if row.channel is not None and (row.increase or 0.0) > (limit or 0.0):
                yield Loss("error", "", row.output, (row.channel,))


@dataclass(frozen=True)
class _Outlying:
    """The samples that hold an outlier, sorted, and a finding for each."""

    samples: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()


def _outlying(
    source: SourceModel, data: DataSet, outputs: Sequence[_Output]
) -> tuple[_Outlying, _Outlying]:
    """Return the samples whose inputs are outliers, and those whose inputs or labels are."""
    if data.is_random:
        return _Outlying(), _Outlying()
    several = len(source.inputs) > 1
    inputs = [
        (f"input {quoted(spec.name)}" if several else "the input", array[:, 0])
        for spec, array in zip(source.inputs, match_inputs(data, source.inputs), strict=True)
    ]
    labels = [
        (f"the labels {data.label_name(out.position)}", table_of(out.labels.values))
        for out in outputs
        if out.labels is not None and out.labels.values is not None
    ]
    return tuple(
        _Outlying(*find_outliers(arrays, data.place)) for arrays in (inputs, [*inputs, *labels])
    )  # type: ignore[return-value]


def _told(
    outlying: _Outlying, regression: RegressionReport | None, similarity: SimilarityReport | None
) -> Iterator[str]:
    """Yield which samples are also left out; nothing where only classes are counted, to which one
    sample is one sample."""
    if not outlying.samples or (regression is None and similarity is None):
        return
    more = len(outlying.samples) - _NAMED
    also = f"; {more} more" if more > 0 else ""
    named = "; ".join(found.sentence for found in outlying.findings[:_NAMED])
    yield (
        f"the evaluation data have outliers, so outputs are judged with and without them: {named}"
        f"{also}"
    )


def _suspects(outlying: _Outlying, similarity: SimilarityReport | None) -> tuple[Cause, ...]:
    """Return the outlying samples as causes, where their outputs are less like the float model's
    than those of all others."""
    if similarity is None or similarity.usual is None:
        return ()
    usual = similarity.usual
    if similarity.least[0] >= usual.least[0]:
        return ()
    named = "; ".join(found.sentence for found in outlying.findings[:_NAMED])
    sentence = (
        f"in the evaluation data {named}; {without(usual.left_out)} the similarity is "
        f"{usual.least[0]:.4f}"
    )
    them = "those samples" if len(usual.left_out) > 1 else "that sample"
    return (Cause(OUTLIER, sentence, f"correct or remove {them}"),)


def _outputs(
    source: SourceModel,
    graph: Graph,
    data: DataSet,
    fed: DataSet,
    engine: Engine,
    reference: Engine | None,
) -> tuple[list[_Output], list[_Unfit]]:
    """Return the outputs that can be judged, and what cannot be judged or compared of any."""
    quantized = [
        quantize_input(a, t)
        for a, t in zip(match_inputs(fed, graph.input_tensors), graph.input_tensors, strict=True)
    ]
    ours = engine.outputs(quantized)
    others = reference.outputs(quantized) if reference is not None and data.has_labels else None
    originals = None if source.is_int8 else float_outputs(source, data.x)
    found: list[_Output] = []
    unfit: list[_Unfit] = []
    for position, tensor in enumerate(graph.output_tensors):
        shape = _shape(tensor)
        if ours[position].size != len(data) * tensor.elements:
            unfit.append(_of_another_size(tensor, ours[position], len(data)))
            continue
        mine = ours[position].reshape(len(data), *shape)
        original = None if originals is None else originals[position]
        if (why := _not_comparable(tensor, mine, original)) is not None:
            unfit.append(why)
            original = None
        if original is not None:
            original = original.reshape(mine.shape)
        probability = graph_gives_probability(graph, position)
        cut = real_threshold(probability)
        found.append(
            _Output(
                position,
                tensor,
                mine,
                dequantize(mine, tensor),
                original,
                None if others is None else others[position].reshape(mine.shape),
                _labels(data, position, tensor, probability),
                _threshold(tensor, cut),
                cut,
            )
        )
    return found, unfit


def _of_another_size(tensor: Tensor, ours: np.ndarray, samples: int) -> _Unfit:
    """Return that the file says another size of an output than the model has when it runs."""
    return _Unfit(
        f"output {quoted(tensor.name)} is not judged: it gave {ours.size:,} values for "
        f"{samples:,} samples where its shape in the file, {list(tensor.shape)}, says "
        f"{samples * tensor.elements:,}"
    )


def _not_comparable(tensor: Tensor, ours: np.ndarray, original: np.ndarray | None) -> _Unfit | None:
    """Return why our output (samples, ...) cannot be compared with the float model's, None where
    it can or where there is none. NaN and infinity are a loss where the float model has neither."""
    where = f"output {quoted(tensor.name)}"
    if original is not None and original.size != ours.size:
        return _Unfit(
            f"{where} is not compared with the float model's: it has {ours[0].size:,} values a "
            f"sample, the float model's {original.size // len(ours):,}"
        )
    mine = _not_finite(ours)
    its = np.zeros_like(mine) if original is None else _not_finite(original.reshape(ours.shape))
    if (mine & ~its).any():
        return _Unfit(
            f"{where} is NaN or infinite in {_counted(mine & ~its)}"
            + (", where the float model's is finite" if original is not None else ""),
            lost=True,
        )
    if its.any():
        return _Unfit(
            f"{where} is not compared with the float model's, which is NaN or infinite in "
            f"{_counted(its)}: look for values that overflow or divide by zero in the data"
        )
    return None


def _not_finite(outputs: np.ndarray) -> np.ndarray:
    """Return which samples hold a NaN or an infinity: bool (samples,)."""
    found: np.ndarray = ~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    return found


def _counted(samples: np.ndarray) -> str:
    """Return how many of the samples, bool (samples,), and which one is the first."""
    count, first = int(np.count_nonzero(samples)), int(samples.argmax())
    return f"{count:,} of {len(samples):,} samples (the first is sample {first})"


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of one sample's output: without the batch of 1, and at least one axis."""
    shape = tensor.shape[1:] if len(tensor.shape) > 1 and tensor.shape[0] == 1 else tensor.shape
    return shape or (1,)


def _threshold(tensor: Tensor, cut: float) -> float:
    """Return the ``cut`` between two classes in the units of the tensor's numbers."""
    if tensor.quantization is None:
        return cut
    return tensor.zero_point + cut / tensor.scale


def _labels(data: DataSet, position: int, tensor: Tensor, probability: bool) -> Labels | None:
    y = data.labels_of(position)
    if y is None:
        return None
    name = data.label_name(position)
    try:
        return labels_for(
            _shape(tensor),
            y,
            data.x[0],
            probability=probability,
            direct=tensor.quantization is None and tensor.dtype in (DType.INT32, DType.INT64),
            name=name,
        )
    except InputError as error:
        where = f"{data.source}: {error.message} (output {tensor.name!r}: {list(_shape(tensor))})"
        raise InputError(where, hint=error.hint or _LABELS) from error


def _accuracy(
    outputs: Sequence[_Output],
    data: DataSet,
    budget: Budget,
    engine: Engine,
    reference: Engine | None,
    source: SourceModel,
) -> AccuracyReport | None:
    reports = []
    for out in outputs:
        labels = out.labels
        if labels is None or labels.numbers is None:
            continue
        judged: dict[str, tuple[Judged, str]] = {
            "shipped": (labels.judge(out.ours, out.threshold), engine.label)
        }
        if out.original is not None:
            said = labels.judge(out.original, out.cut)
            judged["float_baseline"] = (said, f"float model, {source.kind}")
        if reference is not None and out.reference is not None:
            said = labels.judge(out.reference, out.threshold)
            judged["int8_reference"] = (said, reference.label)
        reports.append(accuracy_report(judged, data, budget, out.tensor.name))
    return dataclasses.replace(reports[0], others=tuple(reports[1:])) if reports else None


def _regression(
    outputs: Sequence[_Output], data: DataSet, budget: Budget, outlying: Sequence[int]
) -> RegressionReport | None:
    rows = [
        (
            out.tensor.name,
            out.as_values(out.real),
            None if out.original is None else out.as_values(out.original),
            out.labels.values,
        )
        for out in outputs
        if out.labels is not None
        and out.labels.values is not None
        and np.isfinite(out.real).all()  # else the gate names the samples
    ]
    return regression_report(rows, data, budget, outlying) if rows else None


def _similarity(
    outputs: Sequence[_Output],
    graph: Graph,
    data: DataSet,
    budget: Budget,
    outlying: Sequence[int],
) -> SimilarityReport | None:
    """Return the similarity of outputs that are not judged as classes; of all, where a budget asks
    for it."""
    rows, cuts, steps = [], [], []
    for out in outputs:
        classes = out.labels is not None and out.labels.numbers is not None
        if out.original is None or (classes and budget.min_similarity is None):
            continue
        rows.append((out.tensor.name, out.real, out.original))
        cuts.append(output_cuts(graph, out.position))
        steps.append(bounded_steps(graph, out.position))
    if not rows:
        return None
    report = similarity_report(rows, data, cuts, steps)
    usual = without_outliers(rows, data, cuts, steps, outlying)
    return dataclasses.replace(report, usual=usual)


def _constant(
    outputs: Sequence[_Output], graph: Graph, data: DataSet, outlying: Sequence[int]
) -> list[Loss]:
    """Return what has become constant, on all samples or on all but those that are ``outlying``."""
    known = [(out, out.original) for out in outputs if out.original is not None]
    cuts = [output_cuts(graph, out.position) for out, _ in known]
    steps = [out.tensor.scale if out.tensor.quantization is not None else 0.0 for out, _ in known]
    rows = [(out.tensor.name, out.real, original) for out, original in known]
    found = constant_parts(rows, cuts, steps)
    if not outlying or found:
        return found
    kept = np.setdiff1d(np.arange(len(data)), outlying)
    # Of a scale that an outlier stretched a step is no measure.
    steps = [float(bounded_steps(graph, out.position).max(initial=0.0)) for out, _ in known]
    lost = constant_parts([(n, a[kept], b[kept]) for n, a, b in rows], cuts, steps)
    said = without([data.place(sample) for sample in outlying])
    return [dataclasses.replace(loss, sentence=f"{said}, {loss.sentence}") for loss in lost]


def quality_metrics(
    accuracy: AccuracyReport | None,
    regression: RegressionReport | None,
    similarity: SimilarityReport | None,
    engine: str,
) -> dict[str, Figure | None]:
    """Return the metrics of quality by their names in ``Metrics``; None where unknown."""
    return {
        "accuracy_drop": _accuracy_drop(accuracy),
        "class_drop": _class_drop(accuracy),
        "error_increase": _error_increase(regression, engine),
        "similarity": _least_similarity(similarity, engine),
    }


def _accuracy_drop(accuracy: AccuracyReport | None) -> Figure | None:
    if accuracy is None:
        return None
    one = accuracy.worst_drop
    if not (one.float_baseline and one.shipped):
        return None
    drop = one.float_baseline.value - one.shipped.value
    which = f", output '{one.output}'" if accuracy.others else ""
    return Figure(drop, "ratio", How.MEASURED, _difference(one) + which)


def _class_drop(accuracy: AccuracyReport | None) -> Figure | None:
    found = [
        (one, worst)
        for one in (accuracy.all if accuracy else ())
        if (worst := one.worst) is not None and worst.drop is not None
    ]
    if not found:
        return None
    one, worst = max(found, key=lambda pair: pair[1].drop.value if pair[1].drop else 0.0)
    assert worst.drop is not None
    source = f"{_difference(one)}, {worst.label}, {worst.samples:,} samples"
    return Figure(worst.drop.value, "ratio", How.MEASURED, source)


def _difference(accuracy: AccuracyReport) -> str:
    return f"float baseline minus {accuracy.engine}"


def _error_increase(regression: RegressionReport | None, engine: str) -> Figure | None:
    found = [
        (one.worst.increase, one.worst.label, one.left_out)
        for one in (regression, regression.usual if regression else None)
        if one is not None and one.worst is not None and one.worst.increase is not None
    ]
    if not found:
        return None
    increase, label, left_out = max(found)
    source = f"RMSE of {engine} over the float model's, {label}{_but(left_out)}"
    return Figure(increase, "ratio", How.MEASURED, source)


def _but(left_out: Sequence[int]) -> str:
    return f", {without(left_out)}" if left_out else ""


def _least_similarity(similarity: SimilarityReport | None, engine: str) -> Figure | None:
    if similarity is None:
        return None
    found = [
        (*one.least, one.left_out) for one in (similarity, similarity.usual) if one is not None
    ]
    value, label, left_out = min(found)
    if not math.isfinite(value):
        return None
    source = f"{engine} beside the float model, {label}{_but(left_out)}"
    return Figure(value, "similarity", How.MEASURED, source)
