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
class Structure:
    """What a network is before it is pruned: how many of its blocks are gone, and at which energy
    its large layers have become factors of low rank; 1 leaves them whole."""

    blocks: int = 0
    energy: float = 1.0

    @property
    def name(self) -> str:
        """What tells it from the original, for whom a study is read by."""
        parts = [f"blocks={self.blocks}"] if self.blocks else []
        parts += [f"energy={self.energy:g}"] if self.energy < 1.0 else []
        return " ".join(parts) or "original"

    def steps(self) -> list[dict[str, Any]]:
        """Return the passes that make it."""
        steps: list[dict[str, Any]] = []
        if self.blocks:
            steps.append({"pass": "remove_blocks", "count": self.blocks})
        if self.energy < 1.0:
            steps.append({"pass": "low_rank", "energy": self.energy})
        return steps


Need = Mapping[str, float]
"""How much must go of each measure."""


@dataclass(frozen=True)
class Space:
    """The knobs of one model, and how recipes come of them.

    ``blocks`` is how many blocks may be removed; ``wide_layers`` says whether there are dense
    layers or convolutions that a low rank may make smaller; ``normalized`` whether batch
    normalization tells what channels are worth; ``architecture`` is another space: width and depth
    of a network that is trained anew, and then pruned.

    A space that aims at a budget has a knob for the structure, and its measures are by how much
    more goes than must: ``needs`` says how much that is, of each structure that may be tried. The
    first of them stands in for those that may not, which the knob has too: the choices of a study
    never change.
    """

    blocks: int = 0
    wide_layers: bool = False
    normalized: bool = False
    architecture: bool = False
    needs: Mapping[Structure, Need] = field(default_factory=dict)

    def aiming(self, needs: Mapping[Structure, Need]) -> Space:
        """Return the space around what must go of each structure: less does not fit, more costs
        accuracy for nothing."""
        return replace(self, needs=dict(needs))

    @property
    def aims(self) -> list[str]:
        """The measures of which something must go, of one structure at least."""
        return [m for m in MEASURES if any(need[m] for need in self.needs.values())]

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What is to be chosen."""
        if self.architecture:
            return (*_SCALING, *_QUANTIZING)
        criteria = ("taylor", "l1", "l2", *(("bn_scale",) if self.normalized else ()))
        pruning = (
            Knob("criterion", "taylor", options=criteria),
            Knob("sensitivity", 0.0, options=(0.0, 0.5, 1.0)),
        )
        if self.needs:
            every = dict.fromkeys((Structure(), *self.structures(), *self.reductions()))
            names, first = tuple(s.name for s in every), next(iter(self.needs))
            structure = Knob("structure", first.name, options=names)
            return (*(Knob(m, 0.0, *_BEYOND) for m in self.aims), *pruning, structure, *_QUANTIZING)
        found = [*(Knob(m, 0.0, 0.0, MOST) for m in MEASURES), *pruning]
        if self.blocks:
            found.append(Knob("blocks", 0, 0, self.blocks))
        if self.wide_layers:
            found.append(Knob("energy", 1.0, options=(1.0, *_ENERGIES)))
        return (*found, *_QUANTIZING)

    def neutral(self, **changes: Any) -> dict[str, Any]:
        """Return the choice that changes nothing, or no more than it must, but what ``changes``
        says."""
        return {knob.name: knob.neutral for knob in self.knobs} | changes

    def recipe(self, choice: Choice) -> tuple[dict[str, Any], ...]:
        """Return the recipe of a choice as plain JSON values, ``quantize`` last."""
        if self.architecture:
            scale = {"pass": "scale", "width": choice["width"], "depth": choice["depth"]}
            by, ratio = choice["prune"], choice["ratio"]
            cuts = [{"pass": "prune", "by": by, "ratio": ratio}] if by else []
            return (scale, *cuts, _quantize(choice))
        if not self.needs:
            structure = Structure(choice.get("blocks", 0), choice.get("energy", 1.0))
            return self.pruned(structure, choice, choice)
        named = (s for s in self.needs if s.name == choice["structure"])
        structure = next(named, next(iter(self.needs)))
        need = self.needs[structure]
        shares = {m: _further(need[m], choice[m]) for m in MEASURES if need[m]}
        return self.pruned(structure, shares, choice)

    def pruned(
        self, structure: Structure, shares: Need, choice: Choice | None = None
    ) -> tuple[dict[str, Any], ...]:
        """Return the recipe of a structure of which such shares of the measures go; ``choice`` says
        how they are chosen and what is quantized how."""
        choice = self.neutral() if choice is None else choice
        steps = structure.steps()
        for measure in MEASURES:
            ratio = shares.get(measure, 0.0)
            if ratio > 0.0:
                step = {
                    "pass": "prune",
                    "by": measure,
                    "ratio": ratio,
                    "criterion": choice["criterion"],
                    "sensitivity": choice["sensitivity"],
                }
                steps.append(step | ({"multiple": 1} if ratio > MOST else {}))
        return (*steps, _quantize(choice))

    def structures(self) -> list[Structure]:
        """Return the structures besides the original's that are worth to aim with: one, half or all
        of the removable blocks gone, or large layers as factors."""
        counts = sorted({1, -(-self.blocks // 2), self.blocks}) if self.blocks else []
        energies = _ENERGIES if self.wide_layers else ()
        return [*map(Structure, counts), *(Structure(0, energy) for energy in energies)]

    def reductions(self) -> list[Structure]:
        """Return the structures that make a network small besides removing channels: every
        removable block gone, layers whole or as factors. Factors are smaller where a layer's
        channels may not go, larger where all but one may."""
        energies = _ENERGIES if self.wide_layers else ()
        return [Structure(self.blocks, energy) for energy in (1.0, *energies)]

    def smallest(self, structure: Structure) -> tuple[dict[str, Any], ...]:
        """Return the recipe of the smallest network of a structure: one channel a layer. Among
        those of all reductions is the smallest of the space."""
        steps = [{"pass": "scale", "depth": 0.0}] if self.architecture else structure.steps()
        cut = {"pass": "prune", "by": "channels", "ratio": ALL, "multiple": 1}
        return (*steps, cut, _quantize(self.neutral()))


def _quantize(choice: Choice) -> dict[str, Any]:
    return {
        "pass": "quantize",
        "calibration": choice["calibration"],
        "rounding": choice["rounding"],
    }


def _further(need: float, by: float) -> float:
    """Return the share that goes when ``by`` more goes than must, up to ``MOST``, or above it up to
    ``ALL``. Where there is less room than ``by`` may be, the room is shared out."""
    low, top = (0.0, MOST) if need <= MOST else (MOST + _FINE, ALL)
    if by > 0.0:
        return need + by * min(1.0, (top - need) / _BEYOND[1])
    return max(low, need + by)


_BEYOND = (-0.02, 0.15)
"""How much more may go of a measure than must; other criteria take other channels, and may need a
little less."""
_FINE = 0.001
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
