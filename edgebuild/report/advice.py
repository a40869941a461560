"""What weighs most where a budget was missed, and what to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from edgebuild.budget import MEMORY_OF, OF_QUALITY, OF_REGION, Violation
from edgebuild.compress.ladder import Ladder
from edgebuild.errors import CheckFailedError
from edgebuild.regions import unused_of_profile
from edgebuild.report.gate import AccuracyGate
from edgebuild.report.model import LayerReport, Report
from edgebuild.units import duration_option, format_points, size_option

_SHOWN = 3
_SLIGHT = 0.02
"""The share of the largest cost below which a layer's is not worth a word."""

_LABELS = "`edgebuild build` with a float model and data with labels: --data set.npz with x and y"
_UNLABELED = "the data have no labels: add an array y to them, or leave the budget out"
_COMPRESSED = (
    "the same command with the Keras model that was converted (.keras) and --data set.npz (x: "
    "inputs, y: labels), which compresses it until it fits"
)
_UNSURE = "`edgebuild build`, which compiles the model and measures"
_ARE_VALUES = (
    "the labels are values, not classes: --max-error-increase or --min-similarity limits what a "
    "regression may lose"
)
_ARE_CLASSES = "the labels are classes, not values: --max-accuracy-drop limits what may be lost"
_FLOAT_MODEL = "`edgebuild build` with a float model and --data, whose outputs are compared"
_KNOWN_MEMORY = "choose a target whose profile has memory regions"
_LITERT_S_RAM = (
    "leave --max-ram out: how much RAM LiteRT and its delegate use is not known, and the generated "
    "C's arena says nothing about it"
)


class Judged(Protocol):
    """A report of a build, or a forecast of one: what a verdict is made of."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def target(self) -> Mapping[str, Any]:
        """The profile as plain JSON values."""
        ...

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The limits that are missed, or not known to be kept."""
        ...

    @property
    def refusals(self) -> tuple[str, ...]:
        """Sentences of what was forbidden and happens."""
        ...

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        """The layers of the generated code."""
        ...

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        ...


def check_failure(report: Judged) -> CheckFailedError | None:
    """Return what failed in ``report`` as one error, None when nothing did."""
    if report.passed:
        return None
    sentences: list[str] = []
    hint = ""
    c = report.comparison if isinstance(report, Report) else None
    if c is not None and not c.equal:
        sentences.append(
            f"{c.different_bytes:,} of {c.compared_bytes:,} output bytes differ from those of "
            f"{c.oracle}"
        )
        sentences += [c.first_divergence] if c.first_divergence else []
        hint = "report this as a bug, with the model"
    for violation in report.violations:
        sentences.append(violation.sentence())
        if not violation.unknown:
            sentences += weighs_most(report, violation)
        family, labels = str(report.target.get("family", "")), _labels(report)
        hint = hint or (_UNSURE if violation.uncertain else _smaller_code(report, violation))
        weights = _room_for_weights(report, violation)
        hint = hint or _against_causes(report, violation)
        hint = hint or budget_hint(violation, family, labels=labels, weights=weights)
        if violation.source.startswith((MEMORY_OF, OF_REGION)):
            hint = "; ".join([*unused_of_profile(report.target, violation.budget), hint])
    gate = report.gate if isinstance(report, Report) else None
    if gate is not None:
        lost = () if gate.passed else gate.losses
        sentences += [loss.sentence for loss in lost]
        if lost:
            sentences += _lost_most(report)
        sentences += [gate.departure.sentence] if gate.departure else []
        sentences += [cause.sentence for cause in gate.causes]
        if lost and isinstance(report, Report):
            sentences += _questionable(report)
        ladder = report.ladder if isinstance(report, Report) else None
        hint = hint or (gate_hint(gate, ladder) if lost else "")
    sentences += _tried(report)
    sentences += report.refusals
    return CheckFailedError(f"{report.name} for {report.target['name']}: {sentences[0]}",
                            details=sentences[1:], hint=hint)  # fmt: skip


def _questionable(report: Report) -> list[str]:
    """Return what may be why a build lost much: its data, and why no remedy helped."""
    data = [found.sentence for found in report.calibration if found.warning]
    return [*data, *(report.ladder.notes if report.ladder is not None else ())]


def _against_causes(report: Judged, violation: Violation) -> str:
    """Return what to try against a missed budget of quality where its causes are known."""
    gate = report.gate if isinstance(report, Report) else None
    if gate is None or violation.unknown or violation.budget not in OF_QUALITY:
        return ""
    assert isinstance(report, Report)
    tried = _in_vain(report.ladder)
    left = [_untried(cause.remedy, tried) for cause in gate.causes]
    remedies = list(dict.fromkeys(remedy for remedy in left if remedy))
    verb = "lower" if violation.budget == "similarity" else "raise"
    limit = f"--{'min' if verb == 'lower' else 'max'}-{violation.budget}"
    return "; ".join([*remedies, f"or {verb} {limit}"]) if remedies else ""


def gate_hint(gate: AccuracyGate, ladder: Ladder | None = None) -> str:
    """Return what to try where the accuracy gate failed: against its causes, else in general; not
    what the ladder has tried and was not enough."""
    remedies = [cause.remedy for cause in gate.causes if cause.remedy] or [*_RECALIBRATE]
    tried = _in_vain(ladder)
    remedies = [left for one in remedies if (left := _untried(one, tried))] or [_TRAINED]
    limits = dict.fromkeys(
        _OTHER_LIMITS[loss.kind] for loss in gate.losses if loss.kind in _OTHER_LIMITS
    )
    other = f"; {' or '.join(limits)} sets another limit" if limits else ""
    return f"{'; '.join(dict.fromkeys(remedies))}{other}; --no-accuracy-gate turns the check off"


_TRAINED = "training with integers: --compress quantize:epochs=5"
_RECALIBRATE = (
    "more and typical calibration data (--calibration-samples, --train)",
    "--compress quantize:rounding=adaround",
    _TRAINED,
)
_OF_RUNGS = {
    "percentile": ("calibration=percentile", "typical calibration data"),
    "equalization": ("equalize=true",),
    "adaptive rounding": ("rounding=adaround",),
}
"""What tells the remedies that a user may ask for, by the rung of the ladder that tries the same
(no choice of ranges helping, other data to choose them by will not)."""


def _in_vain(ladder: Ladder | None) -> list[str]:
    """Return what tells the remedies that the ladder tried; the build fails all the same."""
    rungs = ladder.rungs if ladder is not None else ()
    return [
        part
        for name, parts in _OF_RUNGS.items()
        if any(rung.tried and rung.name.startswith(name) for rung in rungs)
        for part in parts
    ]


def _untried(remedy: str, tried: Sequence[str]) -> str:
    """Return a remedy without those of its alternatives that hold one that was ``tried``; may be
    empty."""
    ways = remedy.split(", or ")
    left = [way for way in ways if not any(part in way for part in tried)]
    return ", or ".join(left)


_OTHER_LIMITS = {
    "accuracy-drop": "--max-accuracy-drop",
    "error": "--max-error-increase",
    "similarity": "--min-similarity",
}
"""For the kinds of loss that a budget may limit in the gate's place."""


def _tried(report: Judged) -> list[str]:
    """Return a line on what each compiler made, where several were tried."""
    trials = report.compilers if isinstance(report, Report) else ()
    short = any(v.budget in ("flash", "ram") and not v.unknown for v in report.violations)
    if len(trials) < 2 or not short:
        return []
    words = [
        f"{trial.tool} {trial.flash_bytes.value:,.0f} B"
        if trial.flash_bytes is not None
        else f"{trial.tool} does not link"
        for trial in trials
    ]
    return [f"flash by compiler: {', '.join(words)}"]


def weighs_most(report: Judged, violation: Violation) -> list[str]:
    """Return a line that names what cost most of what ran short; may be empty: the layers, the
    classes and slices, or the output's channels."""
    if violation.budget in ("accuracy-drop", "class-drop"):
        return _lost_most(report)
    if violation.budget == "error-increase":
        return _rose_most(report)
    measures: dict[str, tuple[Callable[[LayerReport], float], str]] = {
        "flash": (lambda layer: layer.parameter_bytes, "B of weights"),
        "ram": (lambda layer: layer.live_bytes, "B live"),
        "latency": (lambda layer: 100 * (layer.share or 0), "% of the time"),
    }
    if violation.budget not in measures:
        return []
    if violation.budget == "flash" and (code := _code(report)):
        return [code]
    cost, unit = measures[violation.budget]
    largest = sorted(report.layers, key=lambda layer: -cost(layer))[:_SHOWN]
    words = [
        f"layer {layer.index} {layer.kind} {cost(layer):,.0f} {unit}"
        for layer in largest
        if cost(layer) > _SLIGHT * cost(largest[0])
    ]
    return [f"largest: {', '.join(words)}"] if words else []


def _by_origin(report: Judged) -> tuple[float, float]:
    """Return the bytes of code, and of weights, in the linked image; zeros where not known."""
    flash = report.flash if isinstance(report, Report) else {}
    values = {name: figure.value for name, figure in flash.items()}
    return values.get("code", 0) + values.get("runtime", 0), values.get("weights", 0)


def _code(report: Judged) -> str:
    """Return what fills the flash where that is code rather than weights, else nothing."""
    code, weights = _by_origin(report)
    if code <= weights:
        return ""
    assert isinstance(report, Report)
    in_flash = {section.name for section in report.sections if section.in_flash}
    functions = [
        f"{symbol.name} {symbol.size:,} B"
        for symbol in report.symbols
        if symbol.section in in_flash and "/app/" not in symbol.object_file
        if "_weights" not in symbol.object_file
    ]
    largest = f"; largest: {', '.join(functions[:_SHOWN])}" if functions else ""
    return f"code takes {code:,.0f} B of it, weights {weights:,.0f} B{largest}"


def _smaller_code(report: Judged, violation: Violation) -> str:
    """Return what to try where code fills the flash that ran short, else nothing."""
    if violation.budget != "flash" or violation.unknown or not _code(report):
        return ""
    assert isinstance(report, Report)
    ways = ["fewer kinds of operators: each brings its own kernel"]
    if not any(trial.tool.startswith("gcc") for trial in report.compilers):
        ways.insert(0, "install gcc (its code is often smaller; --toolchain auto tries both)")
    limit = f"or --max-flash {enough(violation)}"
    if violation.source.startswith((MEMORY_OF, OF_REGION)):
        limit = "or a target with more flash"
    return ", ".join([*ways, limit])


def _room_for_weights(report: Judged, violation: Violation) -> str:
    """Return how many bytes of weights a missed flash budget leaves, nothing where not known."""
    code, weights = _by_origin(report)
    room = violation.limit - code
    if violation.budget != "flash" or not code or room <= 0:
        return ""
    return f" (at most {room:,.0f} B of weights in all, now {weights:,.0f} B)"


def _lost_most(report: Judged) -> list[str]:
    accuracy = report.accuracy if isinstance(report, Report) else None
    groups = [g for one in (accuracy.all if accuracy else ()) for g in (*one.classes, *one.slices)]
    lost = [(group, group.drop.value) for group in groups if group.drop and group.drop.value > 0]
    words = [
        f"{group.label} {format_points(value)} ({group.samples:,} samples)"
        for group, value in sorted(lost, key=lambda row: -row[1])[:_SHOWN]
    ]
    return [f"lost most: {', '.join(words)}"] if words else []


def _rose_most(report: Judged) -> list[str]:
    regression = report.regression if isinstance(report, Report) else None
    rows = regression.channels if regression else ()
    known = [(row, row.increase) for row in rows if row.increase is not None and row.increase > 0]
    words = [
        f"{row.label} {value:.1%}" for row, value in sorted(known, key=lambda r: -r[1])[:_SHOWN]
    ]
    return [f"rose most: {', '.join(words)}"] if words else []


_TELLS_TIME = {
    "android": "measure it on a phone: `edgebuild bench BUILD --device SERIAL`, or --run adb",
    "coral": "measure it on the board: `edgebuild bench BUILD --host USER@BOARD`, or --usb",
}


def budget_hint(violation: Violation, family: str, *, labels: str = "", weights: str = "") -> str:
    """Return what to try against a violation on a target of ``family``; ``labels`` says what those
    of the data are: ``classes``, ``values``, ``none``, or nothing where no data were given;
    ``weights`` how many bytes of them would do."""
    if violation.unknown:
        return _unknown_hint(violation.budget, family, labels)
    more = _more(violation)
    return {
        "flash": f"{_COMPRESSED}; fewer channels in the largest layers{weights}; {more}",
        "ram": f"{_COMPRESSED}; a smaller input or an earlier stride; {more}",
        "latency": f"{_COMPRESSED}; fewer channels or an earlier stride; a faster target "
        f"(`edgebuild targets list`); or --max-latency {enough(violation)}",
        "accuracy-drop": "more calibration data (--calibration-samples), or raise "
        "--max-accuracy-drop",
        "class-drop": "more samples of that kind to calibrate or fine-tune with, or raise "
        "--max-class-drop",
        "error-increase": "more calibration data (--calibration-samples), or raise "
        "--max-error-increase",
        "similarity": "more calibration data (--calibration-samples), or lower --min-similarity",
    }[violation.budget]


def _more(violation: Violation) -> str:
    """Return how there may be more memory: a limit can be raised, a chip's memory cannot."""
    word = "RAM" if violation.budget == "ram" else violation.budget
    if violation.source.startswith((MEMORY_OF, OF_REGION)):
        return f"or a target with more {word} (`edgebuild targets list`)"
    return f"or, where the chip has it, --max-{violation.budget} {enough(violation)}"


def enough(violation: Violation) -> str:
    """Return the limit, rounded up, that a missed budget of flash, RAM or latency would keep."""
    needed = violation.value.most if violation.value is not None else violation.limit
    return duration_option(needed) if violation.budget == "latency" else size_option(needed)


def _labels(report: Judged) -> str:
    if not isinstance(report, Report):
        return ""
    if report.accuracy is not None:
        return "classes"
    if report.regression is not None:
        return "values"
    compared = report.similarity
    return "none" if compared is not None and not compared.is_random else ""


def _unknown_hint(budget: str, family: str, labels: str) -> str:
    """Return how a figure that is not known would be."""
    if budget == "latency":
        return _TELLS_TIME.get(
            family,
            "--run simulator, or measure it on a board with `edgebuild bench`",
        )
    if budget == "ram":
        return _LITERT_S_RAM if family in _TELLS_TIME else _KNOWN_MEMORY
    if labels == "none" and budget in ("accuracy-drop", "class-drop", "error-increase"):
        return _UNLABELED
    if budget in ("accuracy-drop", "class-drop"):
        return _ARE_VALUES if labels == "values" else _LABELS
    if budget == "error-increase":
        return _ARE_CLASSES if labels == "classes" else _LABELS
    return _FLOAT_MODEL if budget == "similarity" else _KNOWN_MEMORY
