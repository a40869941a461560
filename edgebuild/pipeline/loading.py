"""The model at the ``.tflite`` boundary: opened, compressed, in the target's number format."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgebuild.backends.base import Progress
from edgebuild.codegen.names import renamed
from edgebuild.compress.base import Pass
from edgebuild.compress.recipe import untrained
from edgebuild.compress.run import Compressed, CompressionJob, compress
from edgebuild.compress.splits import Split, Splits, split_data
from edgebuild.delegates.check import check_compatibility
from edgebuild.delegates.customs import refuse_unknown_customs
from edgebuild.errors import EdgebuildError, InputError, UnsupportedOperatorError
from edgebuild.files import TemporaryFolder
from edgebuild.models.convert import Converted, lacks_data, to_tflite
from edgebuild.models.data import DataSet, load_data, match_inputs
from edgebuild.models.source import Kind, SourceModel, open_model
from edgebuild.ops.refusal import FormGroups, Unsupported
from edgebuild.ops.support import node_reason
from edgebuild.pipeline.plan import BuildPlan, BuildRequest
from edgebuild.pipeline.remedies import (
    Review,
    is_calibrated,
    part_of,
    preprocessed,
    question_baseline,
    question_calibration,
    try_remedies,
)
from edgebuild.tflite.reader import read_tflite


@dataclass(frozen=True)
class Prepared:
    """A finished ``.tflite`` with the data that came with it.

    ``source`` is what the user gave, ``model`` the file's bytes. ``data`` is what the build is
    judged on, as the original reads them: the test split when the model was compressed or remedies
    were chosen, else all. ``sets`` are all that the user gave, ``calibration`` is the one that
    ranges were taken from. ``review`` is what is questionable, and what was done about it.
    ``lack`` is there where calibration data are missing and noise took their place: such a model
    shows what it needs and what is unsupported, and is not to be shipped.
    """

    source: SourceModel
    data: DataSet | None
    model: bytes
    notes: tuple[str, ...]
    compressed: Compressed | None
    sets: tuple[DataSet, ...]
    calibration: DataSet | None
    review: Review
    lack: InputError | None

    @property
    def fed(self) -> DataSet | None:
        """``data`` as the finished model reads them."""
        return preprocessed(self.data, self.source.inputs, self.review.preprocessing)


def prepare(plan: BuildPlan, progress: Progress, *, forecast: bool = False) -> Prepared:
    """Load the model and its data, compress it, and convert it to the target's number format.

    Where calibration data are missing, noise calibrates and ``lack`` says so: what else speaks
    against a build is told first. A ``forecast`` needs the model's shape, not its accuracy: recipes
    are applied without their training.
    """
    request = plan.request
    progress(f"loading {request.model.name}")
    in_litert = plan.target.delegate is not None
    source = open_model(
        request.model,
        trust=request.trust_model,
        any_format=in_litert,
        shapes=request.input_shapes,
    )
    try:
        _refuse_other_format(source, request)
        if source.content:
            refuse = _refuse_unknown_customs if in_litert else _refuse_customs
            refuse(source, plan)
        data, train = load_sets(source, request)
        lack = None
        if data is None and train is None and _needs_data(source, plan):
            lack = lacks_data(source, other_formats=in_litert)
            data = load_data("random", source, folder=request.data_folder, seed=request.seed)
        sets = tuple(found for found in (data, train) if found is not None)
        with ExitStack() as stack:
            shown, calibration = source, train or data
            compressed, splits = None, None
            if plan.recipe:
                folder = stack.enter_context(TemporaryFolder("compress"))
                splits = training_splits(source, data, train, request, plan.recipe)
                compressed = _compressed(
                    plan, source, splits, Path(folder), progress, forecast=forecast
                )
                if compressed.tflite is None:
                    shown = open_model(
                        compressed.model, trust=request.trust_model, shapes=request.input_shapes
                    )
                    stack.callback(shown.close)
                assert data is not None
                calibration, data = (part_of(data, one) for one in (splits.train, splits.test))
            if compressed is not None and compressed.tflite is not None:
                converted = Converted(compressed.tflite)
            else:
                if not source.is_int8:
                    progress(f"converting to {plan.format}")
                converted = _converted(plan, shown, calibration, lack)
            prepared = Prepared(
                *(source, data, converted.model, converted.notes, compressed, sets),
                calibration=calibration,
                review=Review(),
                lack=lack,
            )
            if not forecast and lack is None:
                prepared = _reviewed(plan, prepared, shown, calibration, train, splits, progress)
    except BaseException:
        source.close()
        raise
    said = renamed(request.name or request.model.stem)
    notes = (*source.notes, *prepared.notes, *([said] if said else ()))
    return dataclasses.replace(prepared, notes=notes)


def _reviewed(
    plan: BuildPlan,
    prepared: Prepared,
    shown: SourceModel,
    calibration: DataSet | None,
    train: DataSet | None,
    splits: Splits | None,
    progress: Progress,
) -> Prepared:
    """Question what was given; where plain quantization loses too much, put a remedy in its place.

    ``shown`` is the float model that was quantized with ``calibration``, ``splits`` how the data
    are divided already. The original and the data that judge it are those of ``prepared``.
    """
    source, data, request = prepared.source, prepared.data, plan.request
    review = Review(baseline=question_baseline(source, data))
    if calibration is None or not is_calibrated(plan, source):
        return dataclasses.replace(prepared, review=review)
    found = None
    if request.ladder and data is not None and not data.is_random:
        found = try_remedies(plan, source, shown, prepared.model, data, train, splits, progress)
    judged = data if found is None else found.data
    review = dataclasses.replace(
        review,
        ladder=None if found is None else found.ladder,
        calibration=question_calibration(source, calibration, judged, request.calibration_samples),
    )
    if found is None:
        return dataclasses.replace(prepared, review=review)
    return dataclasses.replace(
        prepared,
        data=found.data,
        model=found.model,
        notes=(*prepared.notes, *found.notes),
        review=review,
    )


def _converted(
    plan: BuildPlan, shown: SourceModel, calibration: DataSet | None, lack: InputError | None
) -> Converted:
    """Return the model in the plan's number format; a failure tells of noise in place of data."""
    request = plan.request
    try:
        converted = to_tflite(
            *(shown, calibration, plan.format),
            samples=request.calibration_samples,
            seed=request.seed,
        )
        return converted if lack is None else dataclasses.replace(converted, notes=(_STOOD_IN,))
    except EdgebuildError as error:
        if lack is not None:
            error.details = (*error.details, _ASSUMED)
        raise


_STOOD_IN = (
    "no data (--data): random samples stood in for them; sizes and speed hold for real data too, "
    "accuracy is not known"
)
_ASSUMED = "no data were given (--data): noise took their place in the conversion"


def _needs_data(source: SourceModel, plan: BuildPlan) -> bool:
    """Return whether the model cannot be converted without calibration data."""
    fixed = source.is_int8 or source.stored_format is not None
    return plan.format == "int8" and not fixed and not plan.recipe


def _refuse_other_format(source: SourceModel, request: BuildRequest) -> None:
    """Raise InputError where the request's format is not the one that the model has for good."""
    has = "int8" if source.is_int8 else source.stored_format
    if has is not None and request.format not in (None, "int8", has):
        raise InputError(
            f"{source.path} already has {has} numbers and cannot be converted to {request.format}",
            hint="pass the float model that it was made from, or leave --format out",
        )


def _refuse_unknown_customs(source: SourceModel, plan: BuildPlan) -> None:
    """Raise UnsupportedOperatorError where nothing on the target runs one of the operators; before
    a conversion, which would fail on it."""
    where = str(source.path)
    graph = read_tflite(source.content, name=source.path.stem, where=where)
    refuse_unknown_customs(graph, check_compatibility(graph, plan.target), where=where)


def _refuse_customs(source: SourceModel, plan: BuildPlan) -> None:
    """Raise UnsupportedOperatorError where a model for generated C has custom operators; before a
    conversion, which would fail on them."""
    where = str(source.path)
    graph = read_tflite(source.content, name=source.path.stem, where=where)
    customs = [node for node in graph.nodes() if node.kind.startswith("CUSTOM")]
    if not customs:
        return
    groups = FormGroups()
    for node in customs:
        groups.add(node, node_reason(node))
    found = Unsupported(len(graph.ops), groups.forms())
    raise UnsupportedOperatorError(
        f"{where}: {found.summary()}",
        details=found.lines(),
        hint=found.hint(),
        facts={"unsupported": found.to_json()},
    )


def given_shapes(source: SourceModel, request: BuildRequest) -> tuple[tuple[int, ...], ...] | None:
    """Return the shapes of all inputs where the request gives some, None where it does not."""
    return tuple(spec.shape for spec in source.inputs) if request.input_shapes else None


def load_sets(source: SourceModel, request: BuildRequest) -> tuple[DataSet | None, DataSet | None]:
    """Return the data sets that ``data`` and ``train`` name, None for those that are not given."""
    data, train = (
        None if spec is None else
        load_data(spec, source, folder=request.data_folder, seed=request.seed)
        for spec in (request.data, request.train)
    )  # fmt: skip
    return data, train


def training_splits(
    source: SourceModel,
    data: DataSet | None,
    train: DataSet | None,
    request: BuildRequest,
    recipe: Sequence[Pass] = (),
) -> Splits:
    """Return training, validation and test samples for compressing ``source`` by ``recipe``: parts
    of ``data``, or of ``train`` where that is given, with all of ``data`` to test on."""
    trained = [step.name for step in recipe if step.name not in ("quantize", "huffman")]
    fixed = bool(recipe) and recipe[0].name == "quantize" and not trained
    if source.kind not in (Kind.KERAS, Kind.H5) and (source.is_int8 or not fixed):
        raise InputError(
            f"{source.path}: only a .keras or .h5 model can be compressed",
            hint="it is already int8: pass the Keras model it was made from"
            if source.is_int8
            else "pass the Keras model; other float models support only --compress quantize",
        )
    if data is None:
        raise InputError(
            "compression needs data for fine-tuning",
            hint="--data set.npz with x and y, or x alone to learn from the original's outputs; "
            "if you have no data, `edgebuild synthesize` makes x",
        )
    test = None
    if train is not None:
        arrays = tuple(a[:, 0] for a in match_inputs(data, source.inputs))
        test = Split(arrays, data.y, data.slices, data.more_labels)
        data = train
    arrays = tuple(array[:, 0] for array in match_inputs(data, source.inputs))
    return split_data(
        *(arrays, data.y, request.seed, data.slices), test=test, more=data.more_labels
    )


def _compressed(
    plan: BuildPlan,
    source: SourceModel,
    splits: Splits,
    folder: Path,
    progress: Progress,
    *,
    forecast: bool,
) -> Compressed:
    """Run the plan's recipe below ``folder``, a ``forecast`` without its training."""
    request = plan.request
    job = CompressionJob(
        model=source.path,
        kind=str(source.kind),
        trust=request.trust_model,
        recipe=[untrained(step) for step in plan.recipe] if forecast else plan.recipe,
        seed=request.seed,
        features=plan.target.cpu.features,
        checkpoints=folder / "checkpoints" if forecast else plan.checkpoints,
        training=request.training,
        entry_folder=request.data_folder,
        shapes=given_shapes(source, request),
    )
    found = compress(job, splits, folder, progress)
    shutil.rmtree(job.checkpoints, ignore_errors=True)  # they serve a run that was killed
    return found
