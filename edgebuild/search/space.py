"""What a search may vary, and the recipe that a choice stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
    of a network that is trained anew, and then pruned. With ``aims``, measures of which something
    must go, a choice says how much more of them goes than that; without, how much of each measure.
    """

    blocks: int = 0
    wide_layers: bool = False
    normalized: bool = False
    architecture: bool = False
    aims: tuple[str, ...] = ()

    def aiming(self, measures: Iterable[str]) -> Space:
        """Return the space of choices that say how much more goes of ``measures`` than must."""
        return replace(self, aims=tuple(measures))

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What is to be chosen."""
        if self.architecture:
            return (*_SCALING, *_QUANTIZING)
        criteria = ("taylor", "l1", "l2", *(("bn_scale",) if self.normalized else ()))
        found = [Knob(m, 0.0, *_BEYOND) for m in self.aims]
        found = found or [Knob(m, 0.0, 0.0, MOST) for m in MEASURES]
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

    def structure(self, choice: Choice) -> dict[str, Any]:
        """Return what a choice makes of the network before it is pruned: which blocks and factors
        it has. How much must go of each measure depends on that."""
        neutral = {"blocks": 0, "energy": 1.0}
        return {
            name: choice[name]
            for name in neutral
            if choice.get(name, neutral[name]) != neutral[name]
        }

    def recipe(
        self, choice: Choice, need: Mapping[str, float] | None = None
    ) -> tuple[dict[str, Any], ...]:
        """Return the recipe of a choice as plain JSON values, ``quantize`` last.

        Where ``need`` says how much must go of each measure, the choice says how much more does;
        less does not fit, and where nothing must go of a measure, nothing does.
        """
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
            ratio = choice.get(measure, 0.0)
            if need is not None:
                ratio = raised(need[measure], ratio) if need[measure] else 0.0
            if ratio > 0.0:
                step = {
                    "pass": "prune",
                    "by": measure,
                    "ratio": ratio,
                    "criterion": choice["criterion"],
                    "sensitivity": choice["sensitivity"],
                }
                steps.append(step | ({"multiple": 1} if ratio > MOST else {}))
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


_BEYOND = (-0.02, 0.15)
"""How much more may go of a measure than must; other criteria take other channels, and may need a
little less."""
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
