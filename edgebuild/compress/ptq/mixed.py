"""Mixed formats by sensitivity: the cheapest format of each operator that keeps the quality.

In the spirit of HAQ (Wang et al. 2019), with measurements in place of a learned agent: each
operator's formats are tried alone, against the float outputs on validation samples. The formats
are then given up one step at a time, those first that free most bytes for the noise they bring;
how many steps can be taken is measured on the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebuild.compress.base import Context
from edgebuild.compress.kept import Measured, digest
from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.compress.ptq.calibration import Range
from edgebuild.compress.ptq.fitting import on_grid
from edgebuild.compress.ptq.network import Network, Operator
from edgebuild.compress.ptq.writer import possible, write
from edgebuild.compress.quality import output_quality
from edgebuild.compress.splits import Split
from edgebuild.models.last_activation import graph_gives_probability
from edgebuild.tflite.reader import read_tflite

LADDER = ("float32", "int16x8", "int8", "int4")
"""From the most exact; each step costs less."""

_WEIGHT_BYTES = {"float32": 4.0, "int16x8": 1.0, "int8": 1.0, "int4": 0.5}
_ACTIVATION_BYTES = {"float32": 4.0, "int16x8": 2.0, "int8": 1.0, "int4": 1.0}
_SAMPLES = 512
_TINY = 1e-9
_SHOWN = 12

Formats = dict[int, str]


@dataclass(frozen=True)
class Step:
    """One operator goes down to ``wanted``, which frees ``gain`` bytes and brings ``noise``."""

    number: int
    wanted: str
    gain: float
    noise: float


class Trial:
    """Measures assignments of formats on validation samples; ``folder`` keeps the figures."""

    def __init__(
        self, network: Network, found: Mapping[int, Range], split: Split, folder: Path | None
    ) -> None:
        self._network, self._found, self._split = network, found, split
        content = network.content()
        deciding = digest(content, repr(sorted(found.items())), *split.arrays)
        self._known = Measured(folder, "mixed", deciding)
        self.outputs = run_reals(content, split.x)
        graph = read_tflite(content)
        self._probable = [graph_gives_probability(graph, i) for i in range(len(self.outputs))]
        self.quality = self._quality(self.outputs)

    def _run(self, formats: Formats) -> list[np.ndarray]:
        gridded = on_grid(self._network, formats)
        return run_reals(write(gridded, self._found, formats), self._split.x)

    def noise(self, formats: Formats) -> float:
        """Return the ratio of noise to signal of the first output."""

        def measure() -> float:
            ours, wanted = self._run(formats)[0], self.outputs[0]
            error = float(np.sum((ours - wanted) ** 2.0))
            signal = float(np.sum((wanted - wanted.mean()) ** 2.0))
            return error / (signal + _TINY)

        return self._known.get(f"noise {_name(formats)}", measure)

    def drop(self, formats: Formats) -> float:
        """Return how much quality is lost against the float network."""

        def measure() -> float:
            return self.quality - self._quality(self._run(formats))

        return self._known.get(f"drop {_name(formats)}", measure)

    def _quality(self, outputs: Sequence[np.ndarray]) -> float:
        original = self.outputs[0]
        return output_quality(outputs, self._split, lambda: original, self._probable).value


def assign(
    network: Network, found: Mapping[int, Range], tolerance: float, context: Context
) -> tuple[Formats, tuple[str, ...]]:
    """Return a format for each operator, and notes.

    Args:
        network: the float network.
        found: ranges of its tensors.
        tolerance: how much quality on the validation split may be lost against ``network``.
        context: its validation split is what is measured on.
    """
    split = _spread(context.validation, context.seed)
    trial = Trial(network, found, split, context.checkpoints)
    exact = {op.number: "float32" for op in network.operators}
    choices = {op.number: _choices(network, op) for op in network.operators}
    noises = _sensitivities(network, trial, exact, choices, context.progress)
    order = _order(network, choices, noises)
    formats = _deepest(exact, order, trial, tolerance, context.progress)
    formats = _further(formats, order, trial, tolerance, context.progress)
    return formats, _notes(network, formats, noises, trial, tolerance)


def _name(formats: Formats) -> str:
    return digest(repr(sorted(formats.items())))


def _spread(split: Split, seed: int) -> Split:
    """Return at most so many samples that a trial stays short."""
    if len(split) <= _SAMPLES:
        return split
    chosen = np.random.default_rng(seed).choice(len(split), _SAMPLES, replace=False)
    return split.take(np.sort(chosen))


def _choices(network: Network, op: Operator) -> tuple[str, ...]:
    """Return the formats that ``op`` can have, from the most exact."""
    return tuple(f for f in LADDER if possible(network, op, f) == f)


def _sensitivities(
    network: Network,
    trial: Trial,
    exact: Formats,
    choices: Mapping[int, tuple[str, ...]],
    progress: Callable[[str], None],
) -> dict[tuple[int, str], float]:
    """Return the noise that each format of each operator brings alone; it falls with exactness."""
    noises: dict[tuple[int, str], float] = {}
    for op in network.operators:
        progress(f"sensitivity of operator {op.number + 1} of {len(network.operators)}")
        least = 0.0
        for choice in choices[op.number]:
            if choice != "float32":
                least = max(least, trial.noise({**exact, op.number: choice}))
            noises[op.number, choice] = least
    return noises


def _bytes(network: Network, op: Operator, choice: str) -> float:
    """Return the bytes of weights that are stored and of outputs that are held."""
    weights = network.constant(op.inputs[1]) if op in network.weighted() else None
    stored = 0 if weights is None else weights.size
    held = sum(int(np.prod(network.shape(i))) for i in op.outputs)
    return _WEIGHT_BYTES[choice] * stored + _ACTIVATION_BYTES[choice] * held


def _order(
    network: Network,
    choices: Mapping[int, tuple[str, ...]],
    noises: Mapping[tuple[int, str], float],
) -> list[Step]:
    """Return all steps down, those first that bring least noise for each byte; of one operator
    from the exact to the coarse."""
    steps: list[tuple[float, Step]] = []
    for op in network.operators:
        worst = 0.0
        for above, below in zip(choices[op.number], choices[op.number][1:], strict=False):
            gain = _bytes(network, op, above) - _bytes(network, op, below)
            noise = noises[op.number, below] - noises[op.number, above]
            # An operator's later step never comes before its earlier one.
            worst = max(worst, noise / max(gain, _TINY))
            steps.append((worst, Step(op.number, below, gain, noise)))
    return [step for _, step in sorted(steps, key=lambda pair: pair[0])]


def _after(exact: Formats, steps: list[Step]) -> Formats:
    formats = dict(exact)
    for step in steps:
        formats[step.number] = step.wanted
    return formats


def _deepest(
    exact: Formats,
    order: list[Step],
    trial: Trial,
    tolerance: float,
    progress: Callable[[str], None],
) -> Formats:
    """Return the formats after the most steps that stay within the tolerance, by bisection."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        progress(f"trying {middle} of {len(order)} steps")
        if trial.drop(_after(exact, order[:middle])) <= tolerance + _TINY:
            low = middle
        else:
            high = middle - 1
    return _after(exact, order[:low])


def _further(
    formats: Formats,
    order: list[Step],
    trial: Trial,
    tolerance: float,
    progress: Callable[[str], None],
) -> Formats:
    """Return the formats after single further steps, those that free most bytes first."""
    rank = {name: place for place, name in enumerate(LADDER)}
    for step in sorted(order, key=lambda s: -s.gain):
        if rank[step.wanted] <= rank[formats[step.number]]:
            continue
        tried = {**formats, step.number: step.wanted}
        progress(f"trying {step.wanted} for operator {step.number}")
        if trial.drop(tried) <= tolerance + _TINY:
            formats = tried
    return formats


def _notes(
    network: Network,
    formats: Formats,
    noises: Mapping[tuple[int, str], float],
    trial: Trial,
    tolerance: float,
) -> tuple[str, ...]:
    counts = {name: list(formats.values()).count(name) for name in LADDER}
    used = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lost = trial.drop(formats)
    notes = [f"mixed: {used}; {lost:.2%} lost on validation, {tolerance:.2%} allowed"]
    ranked = sorted(
        (op for op in network.operators if (op.number, "int8") in noises),
        key=lambda op: -noises[op.number, "int8"],
    )
    for op in ranked[:_SHOWN]:
        alone = ", ".join(
            f"{name} {noises[op.number, name]:.1e}"
            for name in LADDER[1:]
            if (op.number, name) in noises
        )
        notes.append(f"{network.label(op)}: {formats[op.number]}; noise alone: {alone}")
    return tuple(notes)
