"""What a search may vary, and the recipe that a choice stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

MOST = 0.95
"""The largest share of a cost that pruning is asked to remove while what fits leaves a choice."""

ALL = 0.9999
"""The largest share that can be asked for: what is above ``MOST`` goes channel by channel."""

MEASURES = ("ram", "bytes", "cycles")
"""What pruning aims at, in the order in which it is done."""

Choice = Mapping[str, Any]
"""A value for each knob, by its name."""


@dataclass(frozen=True)
class Knob:
    """One thing to choose: a number between ``low`` and ``high``, or one of ``options``.

    ``neutral`` is the value that changes nothing.
    """

    name: str
    neutral: Any
    low: float = 0.0
    high: float = 1.0
    options: tuple[Any, ...] = ()

    def suggest(self, trial: Any) -> Any:
        """Return the value that an Optuna trial gives."""
        if self.options:
            return trial.suggest_categorical(self.name, self.options)
        if isinstance(self.neutral, int):
            return trial.suggest_int(self.name, int(self.low), int(self.high))
        return trial.suggest_float(self.name, self.low, self.high)


@dataclass(frozen=True)
class Space:
    """The knobs of one model, and how recipes come of them.

    ``blocks`` is how many blocks may be removed; ``wide_layers`` says whether there are dense
    layers or convolutions that a low rank may make smaller; ``normalized`` whether batch
    normalization tells what channels are worth; ``architecture`` is another space: width and depth
    of a network that is trained anew, and then pruned. ``ranges`` are those of measures that are
    known to be narrower.
    """

    blocks: int = 0
    wide_layers: bool = False
    normalized: bool = False
    architecture: bool = False
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def narrowed(self, need: Mapping[str, float]) -> Space:
        """Return the space around what must go of each measure: less does not fit, more costs
        accuracy for nothing. Where nothing needs to go of a measure, nothing does."""
        if not any(need.values()):
            return self
        around = {
            measure: (max(0.0, ratio - 0.02), raised(ratio, 0.15)) if ratio else (0.0, 0.0)
            for measure, ratio in need.items()
        }
        return replace(self, ranges=around)

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What is to be chosen."""
        if self.architecture:
            return (*_SCALING, *_QUANTIZING)
        criteria = ("taylor", "l1", "l2", *(("bn_scale",) if self.normalized else ()))
        found = [Knob(m, 0.0, *self.ranges.get(m, (0.0, MOST))) for m in MEASURES]
        found.append(Knob("criterion", "taylor", options=criteria))
        found.append(Knob("sensitivity", 0.0, options=(0.0, 0.5, 1.0)))
        if self.blocks:
            found.append(Knob("blocks", 0, 0, self.blocks))
        if self.wide_layers:
            found.append(Knob("energy", 1.0, options=(1.0, *_ENERGIES)))
        return (*found, *_QUANTIZING)

    def neutral(self, **changes: Any) -> dict[str, Any]:
        """Return the choice that changes nothing but what ``changes`` says."""
        return {knob.name: knob.neutral for knob in self.knobs} | changes

    def recipe(self, choice: Choice) -> tuple[dict[str, Any], ...]:
        """Return the recipe of a choice as plain JSON values, ``quantize`` last."""
        last = {
            "pass": "quantize",
            "calibration": choice["calibration"],
            "rounding": choice["rounding"],
        }
        if self.architecture:
            scale = {"pass": "scale", "width": choice["width"], "depth": choice["depth"]}
            by, ratio = choice["prune"], choice["ratio"]
            return (scale, *([{"pass": "prune", "by": by, "ratio": ratio}] if by else []), last)
        steps: list[dict[str, Any]] = []
        if choice.get("blocks"):
            steps.append({"pass": "remove_blocks", "count": choice["blocks"]})
        if choice.get("energy", 1.0) < 1.0:
            steps.append({"pass": "low_rank", "energy": choice["energy"]})
        for measure in MEASURES:
            if choice[measure] > 0.0:
                step = {
                    "pass": "prune",
                    "by": measure,
                    "ratio": choice[measure],
                    "criterion": choice["criterion"],
                    "sensitivity": choice["sensitivity"],
                }
                steps.append(step | ({"multiple": 1} if choice[measure] > MOST else {}))
        return (*steps, last)

    def reductions(self) -> list[dict[str, Any]]:
        """Return what may be chosen to make a network small besides removing channels: every
        removable block gone, layers whole or as factors. Factors are smaller where a layer's
        channels may not go, larger where all but one may."""
        blocks = {"blocks": self.blocks} if self.blocks and not self.architecture else {}
        energies = _ENERGIES if self.wide_layers and not self.architecture else ()
        return [blocks, *({**blocks, "energy": energy} for energy in energies)]

    def smallest(self, reduction: Choice) -> tuple[dict[str, Any], ...]:
        """Return the recipe of the smallest network of a reduction: one channel a layer. Among
        those of all reductions is the smallest of the space."""
        *steps, last = self.recipe(self.neutral(**reduction))
        if self.architecture:
            steps = [{"pass": "scale", "depth": 0.0}]
        return (*steps, {"pass": "prune", "by": "channels", "ratio": ALL, "multiple": 1}, last)


def raised(ratio: float, by: float) -> float:
    """Return a larger ratio of the same kind: up to ``MOST``, or above it up to ``ALL``."""
    return min(MOST if ratio <= MOST else ALL, ratio + by)


_ENERGIES = (0.99, 0.95, 0.9)
_SCALING = (
    Knob("width", 1.0, 0.1, 1.0),
    Knob("depth", 1.0, 0.0, 1.0),
    Knob("prune", "", options=("", *MEASURES)),
    Knob("ratio", 0.3, 0.1, 0.6),
)
_QUANTIZING = (
    Knob("calibration", "min-max", options=("min-max", "mse")),
    Knob("rounding", "nearest", options=("nearest", "adaround")),
)
