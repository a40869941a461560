"""The ways to quantize among which a climb chooses, and the float networks that they start from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgebuild.compress.ladder import MIN_MAX
from edgebuild.compress.ptq.artifact import short_name
from edgebuild.compress.ptq.calibration import Histogram, Range, histograms, ranges
from edgebuild.compress.ptq.front import (
    BETTER,
    FEWEST_STEPS,
    fewest_steps,
    front_of,
    standard_steps,
    taken_out,
)
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.splits import Split
from edgebuild.models.calibration_review import outlying_samples
from edgebuild.models.preprocessing import Preprocessing, Step

NO_LOSS = 0.005
"""Half a point of the measure is no loss that another remedy is tried for,"""

LITTLE_NOISE = 0.01
"""as long as no output channel has more noise than a hundredth of its signal."""

PERCENTILES = (99.99, 99.9)


@dataclass(frozen=True, eq=False)
class Floats:
    """A float network with the samples that it reads, raw ones preprocessed."""

    network: Network
    before: Preprocessing
    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]

    @property
    def samples(self) -> list[tuple[np.ndarray, ...]]:
        """An array (\\*shape) for each input, sample by sample."""
        return list(zip(*self.train, strict=True))

    @cached_property
    def histograms(self) -> dict[int, Histogram]:
        """Of every tensor."""
        return histograms(self.network, self.samples)

    def preprocessed(self, network: Network, position: int, steps: tuple[Step, ...]) -> Floats:
        """Return ``network``, which reads input ``position`` after ``steps``."""
        made_from = self.before.made_from
        before = Preprocessing({**self.before.steps, position: steps}, made_from)
        only = Preprocessing({position: steps})
        return Floats(network, before, only.apply(self.train), only.apply(self.validation))


@dataclass(frozen=True, eq=False)
class Candidate:
    """A way to quantize, and once it was tried what that gave; ``missed``: more than the user's own
    limits allow."""

    name: str
    floats: Floats
    method: str = MIN_MAX
    percentile: float = PERCENTILES[0]
    adaround: bool = False
    bias_correction: bool = False
    content: bytes = b""
    lost: float = 0.0
    noise: float = 0.0
    missed: bool = False

    @property
    def good(self) -> bool:
        """Whether nothing worth another remedy is lost."""
        return self.lost <= NO_LOSS and self.noise <= LITTLE_NOISE and not self.missed

    @property
    def ranges(self) -> dict[int, Range]:
        """Of its tensors."""
        return ranges(self.floats.histograms, self.method, percentile=self.percentile)


def usual(split: Split, other: Split) -> Split:
    """Return ``split`` without the samples that are outliers among those of both."""
    both = [np.concatenate(pair) for pair in zip(split.x, other.x, strict=True)]
    kept = np.setdiff1d(np.arange(len(split)), outlying_samples(both))
    return split.take(kept) if len(kept) else split


def drawn(split: Split, most: int, seed: int) -> Split:
    """Return at most so many samples, drawn with ``seed``, in their order."""
    if len(split) <= most:
        return split
    chosen = np.random.default_rng(seed).choice(len(split), most, replace=False)
    return split.take(np.sort(chosen))


def scaled(floats: Floats, position: int) -> tuple[str, Floats] | None:
    """Return the name of a rung and the network whose input ``position`` is scaled by the user:
    by the model's own layers where they do it, else by ranges of the samples."""
    network, tensor = floats.network, floats.network.inputs[position]
    front = front_of(network, tensor)
    if front is not None:
        inner = floats.preprocessed(taken_out(network, tensor, front), position, front.steps)
        steps = fewest_steps(inner.train[position])
        if steps >= min(FEWEST_STEPS, BETTER * fewest_steps(floats.train[position])):
            return "input scaling taken out", inner
        return None
    found = standard_steps(network, tensor, floats.train[position])
    if found is None:
        return None
    made = floats.preprocessed(found[1], position, found[0])
    before = Preprocessing(made.before.steps, "data")
    return "input channels scaled", dataclasses.replace(made, before=before)


def unlike_parts(floats: Floats) -> list[str]:
    """Return a sentence for each CONCATENATION that joins a part with so much larger ones that the
    scale they share in int8 leaves it fewer than FEWEST_STEPS steps."""
    network, found = floats.network, ranges(floats.histograms, MIN_MAX, percentile=100.0)
    sentences = []
    for op in network.operators:
        if op.kind != "CONCATENATION" or not all(i in found for i in op.inputs):
            continue
        widths = {i: found[i][1] - found[i][0] for i in op.inputs}
        low, high = (end(found[i][k] for i in op.inputs) for k, end in ((0, min), (1, max)))
        starved = [i for i in op.inputs if widths[i] * 255 < FEWEST_STEPS * (high - low)]
        if starved:
            parts = " and ".join(
                f"'{short_name(network.original_names[i])}' ({found[i][0]:.4g} to "
                f"{found[i][1]:.4g})"
                for i in op.inputs
            )
            sentences.append(
                f"{network.label(op)} joins {parts} with one scale of {(high - low) / 255:.3g}: "
                "make the parts separate outputs, or bring them to the same range in the model"
            )
    return sentences
