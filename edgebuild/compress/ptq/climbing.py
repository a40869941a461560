"""Climb the ladder of remedies: each is measured on the validation split, the best is kept.

A rung stands on the best one so far: inputs are scaled first, then ranges are chosen, weights
equalized, biases corrected, weights rounded to fit, and at last activations get 16 bits. The climb
ends as soon as nothing worth a remedy is lost. How much each rung may work follows from the
model's MACs, not from a clock, so that the same build gives the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from edgebuild.budget import MUCH_ERROR
from edgebuild.compress.base import Quality
from edgebuild.compress.ladder import INT16_ANYWHERE, MIN_MAX, Climbed, LadderRung, Terms
from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.compress.ptq.candidates import (
    LITTLE_NOISE,
    NO_LOSS,
    PERCENTILES,
    Candidate,
    Floats,
    drawn,
    scaled,
    unlike_parts,
    usual,
)
from edgebuild.compress.ptq.equalize import equalize
from edgebuild.compress.ptq.fitting import Fitting, fit
from edgebuild.compress.ptq.float_file import FloatFile
from edgebuild.compress.ptq.front import (
    folded,
    front_of,
    inputs_to_scale,
)
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.ptq.writer import possible, write
from edgebuild.compress.quality import ACCURACY, output_quality, outputs_kept
from edgebuild.compress.splits import Split
from edgebuild.errors import EdgebuildError
from edgebuild.models.calibration_review import outlying_samples
from edgebuild.models.last_activation import graph_gives_probability
from edgebuild.models.likeness import LEAST_SHARE, SIMILARITY, channel_likeness
from edgebuild.models.output_parts import output_cuts
from edgebuild.models.preprocessing import Preprocessing
from edgebuild.ops.support import check_supported
from edgebuild.tflite.reader import read_tflite

_QUIETER = 0.9
_TINY = 1e-9
_CALIBRATION = (16, 20e9 / 6)
_VALIDATION = (32, 3e9)
_FITTING = (32, 60e9)
"""At least so many samples, and MACs that all of them together may take."""

_MOST_WEIGHTS = 1_500_000
_MOST_FORMATS = 40


def climb(
    content: bytes, train: Split, validation: Split, terms: Terms, progress: Callable[[str], None]
) -> Climbed:
    """Return the best quantized form of a float ``.tflite``, chosen on ``validation``.

    ValueError for a model of several subgraphs; EdgebuildError where plain quantization fails.
    """
    climber = _Climber(content, train, validation, terms, progress)
    best = climber.climb()
    return Climbed(
        best.content,
        best.name,
        tuple(climber.rungs),
        climber.quality.measure,
        climber.quality.value,
        len(best.floats.train[0]),
        climber.validated,
        best.floats.before,
        tuple(climber.notes),
    )


class _Climber:
    """One climb: the rungs so far and the candidates that stand on them."""

    def __init__(
        self,
        content: bytes,
        train: Split,
        validation: Split,
        terms: Terms,
        progress: Callable[[str], None],
    ) -> None:
        self._terms, self._progress = terms, progress
        self._macs = max(1, FloatFile(content).cost().macs)
        count = min(terms.samples, self._affordable(*_CALIBRATION))
        train = drawn(train, count, terms.seed)
        # What no range can hold says nothing of the ranges to choose.
        self._split = drawn(usual(validation, train), self._affordable(*_VALIDATION), terms.seed)
        self.validated = len(self._split)
        self._floats = Floats(Network(content), Preprocessing(), train.x, self._split.x)
        self._outputs = run_reals(content, self._split.x)
        self._graph = graph = read_tflite(content)
        self._cuts = [output_cuts(graph, i) for i in range(len(graph.outputs))]
        self._probable = [graph_gives_probability(graph, i) for i in range(len(graph.outputs))]
        self.quality = self._quality(self._outputs)
        self.rungs: list[LadderRung] = []
        self.notes: list[str] = []
        self._candidates: list[Candidate] = []

    def climb(self) -> Candidate:
        """Try rung after rung until one is good; return the best."""
        self._try(Candidate(MIN_MAX, self._floats), must=True)
        for rung in (
            self._scale_inputs, self._leave_out_samples, self._choose_ranges, self._equalize,
            self._correct_biases, self._round, self._widen,
        ):  # fmt: skip
            if self.best.good:
                break
            rung()
        if not self.best.good:
            self.notes += unlike_parts(self.best.floats)
        return self.best

    @property
    def best(self) -> Candidate:
        """The candidate that loses least, of those that keep the user's limits if there are such;
        of those that lose as little, to within a sample, the one with least noise, and the first of
        equals."""
        tried = [found for found in self._candidates if not found.missed] or self._candidates
        least = max(0.0, min(found.lost for found in tried))
        most = least + max(NO_LOSS, 1.0 / self.validated) + _TINY
        best = None
        for found in tried:
            if found.lost > most:
                continue
            if best is None or found.noise < best.noise * _QUIETER:
                best = found
        assert best is not None
        return best

    def _affordable(self, least: int, macs: float) -> int:
        return max(least, int(macs / self._macs))

    def _quality(self, outputs: Sequence[np.ndarray]) -> Quality:
        return output_quality(outputs, self._split, lambda: self._outputs[0], self._probable)

    def _noise(self, outputs: Sequence[np.ndarray]) -> float:
        return 1.0 - min(map(_least_similarity, outputs, self._outputs, self._cuts))

    def _try(self, candidate: Candidate, *, must: bool = False) -> None:
        """Quantize and measure; a remedy that cannot be carried out is a rung with a note."""
        self._progress(f"trying {candidate.name}")
        try:
            self._measure(candidate, self._written(candidate))
        except EdgebuildError as error:
            if must:
                raise
            self.rungs.append(LadderRung(candidate.name, note=error.message))

    def _written(self, candidate: Candidate) -> bytes:
        floats, found = candidate.floats, candidate.ranges
        network, formats = floats.network, _all(floats.network, "int8")
        if candidate.adaround or candidate.bias_correction:
            layers = max(1, len(network.weighted()))
            most = self._affordable(_FITTING[0], _FITTING[1] / (2 * layers))
            how = Fitting(
                *(candidate.adaround, candidate.bias_correction, 500, self._terms.seed),
                checkpoints=None,
                progress=lambda text: self._progress(f"trying {candidate.name}: {text}"),
            )
            network, _ = fit(network, found, formats, floats.samples[:most], how)
        return write(network, found, formats)

    def _measure(self, candidate: Candidate, content: bytes, note: str = "") -> None:
        outputs = run_reals(content, candidate.floats.validation)
        noise, found = self._noise(outputs), self._quality(outputs)
        # A float model that explains nothing of its labels is only to be kept as it is.
        by_noise = found.measure == SIMILARITY or self.quality.value <= 0.0
        lost = noise if by_noise else self.quality.value - found.value
        missed = self._misses(outputs, lost if found.measure == ACCURACY else 0.0)
        self.rungs.append(LadderRung(candidate.name, float(lost), float(noise), note))
        self._candidates.append(
            dataclasses.replace(
                candidate, content=content, lost=float(lost), noise=float(noise), missed=missed
            )
        )

    def _misses(self, outputs: Sequence[np.ndarray], drop: float) -> bool:
        """Return whether outputs that lost so much accuracy miss a limit of the user's; errors that
        rise by more than MUCH_ERROR do without one, too."""
        budget = self._terms.budget
        kept = outputs_kept(outputs, self._outputs, self._split, self._graph)
        most = MUCH_ERROR if budget.max_error_increase is None else budget.max_error_increase
        return (
            (budget.max_accuracy_drop is not None and drop > budget.max_accuracy_drop)
            or (budget.min_similarity is not None and kept.similarity < budget.min_similarity)
            or (kept.error_increase is not None and kept.error_increase > most)
        )

    def _again(self, name: str, **changes: object) -> None:
        """Try the best candidate so far with changes."""
        changed = dataclasses.replace(self.best, name=name, **changes)  # type: ignore[arg-type]
        self._try(changed)

    def _scale_inputs(self) -> None:
        """Take the scaling of an input out of the quantized part where int8 cannot hold it."""
        best = self.best
        for position in inputs_to_scale(best.floats.train):
            found = scaled(best.floats, position)
            if found is None:
                self.notes.append(
                    f"input {position} has channels too different in size for one int8 scale, and "
                    "its first layer cannot take a scale for each channel over"
                )
                continue
            name, best = found[0], dataclasses.replace(best, floats=found[1])
            self._try(dataclasses.replace(best, name=name))
        for position, tensor in enumerate(best.floats.network.inputs):
            if position in best.floats.before.steps:
                continue
            front = front_of(best.floats.network, tensor)
            inside = None if front is None else folded(best.floats.network, tensor, front)
            if inside is not None:
                best = dataclasses.replace(
                    best, floats=dataclasses.replace(best.floats, network=inside)
                )
                self._try(dataclasses.replace(best, name="input scaling in the first layer"))

    def _leave_out_samples(self) -> None:
        """Calibrate without the samples that hold outliers."""
        floats = self.best.floats
        out = outlying_samples(floats.train)
        if not len(out) or len(out) == len(floats.train[0]):
            return
        kept = np.setdiff1d(np.arange(len(floats.train[0])), out)
        train = tuple(array[kept] for array in floats.train)
        name = f"without {len(out)} outlying sample{'s' if len(out) > 1 else ''}"
        self._again(name, floats=dataclasses.replace(floats, train=train))

    def _choose_ranges(self) -> None:
        for percentile in PERCENTILES:
            self._again(f"percentile {percentile:g}", method="percentile", percentile=percentile)
        if not self.best.good:
            self._again("mse", method="mse")

    def _equalize(self) -> None:
        floats = self.best.floats
        network, (note, *_) = equalize(floats.network)
        if network is floats.network:
            self.rungs.append(LadderRung("equalization", note=note.partition(": ")[2]))
            return
        balanced = dataclasses.replace(floats, network=network)
        for method in (MIN_MAX, "percentile", "mse"):
            if not self.best.good:
                self._again(f"equalization, {method}", floats=balanced, method=method)

    def _correct_biases(self) -> None:
        self._fit("bias correction", bias_correction=True)

    def _round(self) -> None:
        network = self.best.floats.network
        weights = [network.constant(op.inputs[1]) for op in network.weighted()]
        count = sum(0 if array is None else array.size for array in weights)
        if count > _MOST_WEIGHTS:
            note = f"{count:,} weights would take minutes: --compress quantize:rounding=adaround"
            self.rungs.append(LadderRung("adaptive rounding", note=note))
            return
        self._fit("adaptive rounding", adaround=True, bias_correction=True)

    def _fit(self, name: str, **how: bool) -> None:
        layers = max(1, len(self.best.floats.network.weighted()))
        if self._affordable(0, _FITTING[1] / (2 * layers)) < _FITTING[0]:
            option = "rounding=adaround" if "adaround" in how else "bias_correction=true"
            note = f"would take minutes: --compress quantize:{option}"
            self.rungs.append(LadderRung(name, note=note))
            return
        self._again(name, **how)

    def _widen(self) -> None:
        """Give activations 16 bits, where the target runs that and where it is needed."""
        name = "int16 activations"
        best = dataclasses.replace(self.best, name=name)
        if self._terms.int16 not in (INT16_ANYWHERE, "kernels"):
            self.rungs.append(LadderRung(name, note=self._terms.int16))
            return
        self._progress(f"trying {name}")
        network = best.floats.network
        formats = {op.number: possible(network, op, "int16x8") for op in network.operators}
        try:
            content = write(network, best.ranges, formats)
            if self._terms.int16 == "kernels":
                check_supported(read_tflite(content))
        except EdgebuildError as error:
            why = (error.details or [error.message])[0]
            self.rungs.append(LadderRung(name, note=f"the target has no kernels: {why}"))
            return
        wide = {number for number, choice in formats.items() if choice == "int16x8"}
        self._measure(best, content, f"{len(wide)} of {len(formats)} operators")
        if self.best.name == name and len(wide) <= _MOST_FORMATS:
            self._narrow(formats, wide)

    def _narrow(self, formats: dict[int, str], wide: set[int]) -> None:
        """Give back int8 to the operators that do not need more, those first that bring least
        noise."""
        best = self.best
        network, found = best.floats.network, best.ranges

        def noise(narrow: Sequence[int]) -> float:
            tried = {**formats, **dict.fromkeys(narrow, "int8")}
            outputs = run_reals(write(network, found, tried), best.floats.validation)
            return self._noise(outputs)

        self._progress("finding the operators that need int16")
        order = sorted(wide, key=lambda number: (noise([number]), number))
        allowed = max(LITTLE_NOISE, best.noise / _QUIETER)
        low, high = 0, len(order)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if noise(order[:middle]) <= allowed else (low, middle - 1)
        if 0 < low < len(order):
            tried = {**formats, **dict.fromkeys(order[:low], "int8")}
            kept = f"{len(wide) - low} of {len(formats)} operators"
            named = dataclasses.replace(best, name="int16 activations where needed")
            self._measure(named, write(network, found, tried), kept)
            if self._candidates[-1].lost <= best.lost + NO_LOSS:
                self._candidates.remove(best)  # as good, and smaller


def _all(network: Network, choice: str) -> dict[int, str]:
    return {op.number: choice for op in network.operators}


def _least_similarity(outputs: np.ndarray, original: np.ndarray, cuts: Sequence[int]) -> float:
    """Return the similarity of the output channel that is least like the original's, among those
    that the accuracy gate judges."""
    found = channel_likeness(outputs, original, cuts)
    judged = found.similarity[found.share > LEAST_SHARE]
    return float(judged.min(initial=1.0))
