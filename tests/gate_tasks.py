"""Three small tasks whose models are exact to a seed, and fifteen ways to spoil each of them.

The models are float ``.tflite`` files with one hidden layer of fixed random features and heads
fitted by least squares: they need no TensorFlow and are made in milliseconds. A spoiled model
computes what the sound one does in float; spoiled data leave the model alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import edgebuild
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.models import causes
from edgebuild.report.model import Report
from edgebuild.tflite.writer import write_tflite

FEATURES = 96
CALIBRATION, TEST = 200, 500


WITHOUT_REMEDIES: Mapping[str, object] = {"ladder": False}
"""What the gate finds where nothing mends the model by itself."""


@dataclass(frozen=True, eq=False)
class Task:
    """A model of one hidden layer, and its data.

    ``features`` are weights (features, inputs) and biases of the hidden layer, ``heads`` by their
    names weights (values, features), biases and the last operator (``SOFTMAX``, ``LOGISTIC`` or
    nothing). ``joined`` has the heads in one output. ``x`` are the samples that judge,
    ``calibration`` those that calibrate, ``labels`` by the name of the head.
    """

    name: str
    features: tuple[np.ndarray, np.ndarray]
    heads: Mapping[str, tuple[np.ndarray, np.ndarray, str]]
    x: np.ndarray
    calibration: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    joined: bool = False

    def model(self) -> bytes:
        """Return the float ``.tflite``."""
        tensors = [Tensor(0, "x", (1, self.x.shape[1]), DType.FLOAT32)]
        ops: list[Op] = []

        def add(name: str, shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
            real = None if data is None else np.ascontiguousarray(data, np.float32)
            tensors.append(Tensor(len(tensors), name, shape, DType.FLOAT32, None, real))
            return len(tensors) - 1

        def dense(name: str, given: int, w: np.ndarray, b: np.ndarray, act: str = "NONE") -> int:
            constants = add(f"{name}/w", w.shape, w), add(f"{name}/b", b.shape, b)
            made = add(name, (1, len(b)))
            attrs = {"fused_activation_function": act}
            ops.append(Op("FULLY_CONNECTED", (given, *constants), (made,), attrs))
            return made

        hidden = dense("hidden", 0, *self.features, "RELU")
        outputs = []
        for name, (w, b, last) in self.heads.items():
            made = dense(f"{name}/scores" if last else name, hidden, w, b)
            if last:
                end = add(name, (1, len(b)))
                ops.append(Op(last, (made,), (end,), {"beta": 1.0} if last == "SOFTMAX" else {}))
                made = end
            outputs.append(made)
        if self.joined:
            total = sum(len(b) for _, b, _ in self.heads.values())
            end = add("joined", (1, total))
            ops.append(Op("CONCATENATION", tuple(outputs), (end,), {"axis": 1}))
            outputs = [end]
        return write_tflite(
            Graph(self.name, (0,), tuple(outputs), tuple(ops), {t.index: t for t in tensors})
        )

    def build(self, folder: Path, **options: object) -> Report:
        """Build it for the host, calibrated with ``calibration`` and judged on ``x``."""
        (folder / f"{self.name}.tflite").write_bytes(self.model())
        np.savez(folder / "train.npz", x=self.calibration.astype(np.float32))
        np.savez(folder / "test.npz", x=self.x.astype(np.float32), **self.labels)
        return edgebuild.build(
            folder / f"{self.name}.tflite",
            out=folder / "build",
            data=str(folder / "test.npz"),
            train=str(folder / "train.npz"),
            use_cache=False,
            **{"target": "host", "run": "none", **WITHOUT_REMEDIES, **options},
        )


def _fitted(
    name: str,
    x: np.ndarray,
    targets: Mapping[str, tuple[np.ndarray, str]],
    labels: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> Task:
    """Return a task whose heads are fitted to ``targets``, by ridge regression."""
    features = rng.normal(size=(FEATURES, x.shape[1])) / np.sqrt(x.shape[1])
    bias = rng.normal(0, 0.3, FEATURES)
    train, test = x[TEST:], x[:TEST]
    hidden = np.maximum(train @ features.T + bias, 0)
    design = np.hstack([hidden, np.ones((len(hidden), 1))])
    heads = {}
    for head, (wanted, last) in targets.items():
        left = design.T @ design + 1e-3 * len(design) * np.eye(design.shape[1])
        found = np.linalg.solve(left, design.T @ wanted[TEST:])
        heads[head] = (found[:-1].T, found[-1], last)
    return Task(
        name,
        (features, bias),
        heads,
        test,
        train[:CALIBRATION],
        {head: values[:TEST] for head, values in labels.items()},
    )


def classes() -> Task:
    """Return a classifier of eight noisy patterns of 24 values."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 8, 2000)
    patterns = rng.normal(size=(8, 24))
    x = patterns[y] + rng.normal(0, 0.7, (2000, 24))
    return _fitted("classes", x, {"class": (6 * np.eye(8)[y], "SOFTMAX")}, {"class": y}, rng)


def values() -> Task:
    """Return a regression of two values from ten."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, 10))
    y = np.stack([np.tanh(x[:, 0]) + 0.5 * x[:, 1] * (x[:, 2] > 0), 20 * np.sin(x[:, 3])], axis=1)
    return _fitted("values", x, {"y": (y, "")}, {"y": y}, rng)


def boxes() -> Task:
    """Return a detector in small: of a bright patch in 6 x 6 noise its place and its kind."""
    rng = np.random.default_rng(2)
    image = rng.normal(0, 0.1, (2000, 6, 6))
    kind, place = rng.integers(0, 3, 2000), rng.integers(0, 5, (2000, 2))
    shapes = np.array([[[1, 1], [1, 1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]]], float)
    for i, (row, column) in enumerate(place):
        image[i, row : row + 2, column : column + 2] += 2 * shapes[kind[i]]
    box = np.hstack([place, place + 2]) / 6.0
    targets = {"box": (box, ""), "kind": (6 * np.eye(3)[kind], "SOFTMAX")}
    return _fitted("boxes", image.reshape(2000, -1), targets, {"box": box, "kind": kind}, rng)


TASKS: Mapping[str, Callable[[], Task]] = {"classes": classes, "values": values, "boxes": boxes}


def _calibrated(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Task], Task]:
    return lambda task: dataclasses.replace(task, calibration=change(task.calibration.copy()))


def _with(x: np.ndarray, place: object, value: object) -> np.ndarray:
    x[place] = value  # type: ignore[index]
    return x


def _bad_samples(*places: int, labels: bool = True) -> Callable[[Task], Task]:
    """The same bad samples in the data that calibrate and in those that judge, whose variance they
    then are."""

    def spoil(task: Task) -> Task:
        given, judged = task.calibration.copy(), task.x.copy()
        for place in places:
            given[place, 2] = judged[place, 2] = 1e5 * (1 + place)
        kept = task.labels if labels else {}
        return dataclasses.replace(task, calibration=given, x=judged, labels=kept)

    return spoil


def _scaled_channel(task: Task) -> Task:
    """One hidden channel becomes 2,000 times larger, and its weights in the heads smaller."""
    w, b = (a.copy() for a in task.features)
    w[3] *= 2000
    b[3] *= 2000
    heads = {n: (_with(v.copy(), np.s_[:, 3], v[:, 3] / 2000), c, k)
             for n, (v, c, k) in task.heads.items()}  # fmt: skip
    return dataclasses.replace(task, features=(w, b), heads=heads)


def _dead_weight(task: Task) -> Task:
    """A hidden channel that is always 0 has a weight in every head that dwarfs all others."""
    w, b = (a.copy() for a in task.features)
    w[3], b[3] = 0.0, -1.0
    sound = {n: (_with(v.copy(), np.s_[:, 3], 0.0), c, k) for n, (v, c, k) in task.heads.items()}
    heads = {n: (_with(v, np.s_[:, 3], 300 * np.abs(v).max()), c, k)
             for n, (v, c, k) in sound.items()}  # fmt: skip
    return dataclasses.replace(task, features=(w, b), heads=heads)


def _hidden_offset(task: Task) -> Task:
    """All hidden values lie at 2,000 and above; the heads take that away again."""
    w, b = task.features
    low = (np.vstack([task.x, task.calibration]) @ w.T + b).min(0)
    lift = 2000 - low  # so that nothing is cut
    hidden = np.maximum(task.x @ w.T + b, 0)
    heads = {}
    for name, (v, c, k) in task.heads.items():
        # Without the cut the features are linear: fitted again, to what the heads gave.
        design = np.hstack([task.x @ w.T + b, np.ones((len(task.x), 1))])
        again = np.linalg.lstsq(design, hidden @ v.T + c, rcond=1e-6)[0]
        heads[name] = (again[:-1].T, again[-1] - again[:-1].T @ lift, k)
    return dataclasses.replace(task, features=(w, b + lift), heads=heads)


def _input_offset(task: Task) -> Task:
    """All inputs lie around 500; the hidden layer's biases take that away."""
    w, b = task.features
    return dataclasses.replace(
        task,
        features=(w, b - 500 * w.sum(1)),
        x=task.x + 500,
        calibration=task.calibration + 500,
    )


def _input_scale(task: Task) -> Task:
    """One input is in other units, 5,000 times larger."""
    w, b = task.features
    factor = _with(np.ones(task.x.shape[1]), 0, 5000.0)
    return dataclasses.replace(
        task, features=(w / factor, b), x=task.x * factor, calibration=task.calibration * factor
    )


def _joined(task: Task) -> Task:
    """The output gets a part that is counted in hundreds."""
    rng = np.random.default_rng(9)
    large = (rng.normal(size=(3, FEATURES)) * 200, np.full(3, 300.0), "")
    heads = {**task.heads, "large": large}
    return dataclasses.replace(task, heads=heads, labels={}, joined=True)


SPOILED: Mapping[str, tuple[Callable[[Task], Task], str]] = {
    "one value": (_calibrated(lambda x: _with(x, (7, 2), 1e6)), causes.OUTLIER),
    "one sample": (_calibrated(lambda x: _with(x, 7, 1000 * x[7])), causes.OUTLIER),
    "one value everywhere": (_bad_samples(7), causes.OUTLIER),
    "the same, no labels": (_bad_samples(7, labels=False), causes.OUTLIER),
    "four bad samples": (_bad_samples(3, 7, 50, 99, labels=False), causes.OUTLIER),
    "zeros": (_calibrated(lambda x: 0 * x), causes.CONSTANT),
    "one sample repeated": (_calibrated(lambda x: 0 * x + 0.1 * x[5]), causes.CONSTANT),
    "too small": (_calibrated(lambda x: x / 127.5), causes.NARROW),
    "too large": (_calibrated(lambda x: x * 127.5), causes.WIDE),
    "a large channel": (_scaled_channel, causes.CHANNELS),
    "a large weight": (_dead_weight, causes.WEIGHTS),
    "hidden offset": (_hidden_offset, causes.OFFSET),
    "input offset": (_input_offset, causes.OFFSET),
    "an input's unit": (_input_scale, causes.CHANNELS),
    "joined outputs": (_joined, causes.JOINED),
}
"""By its name what spoils a task, and the cause that a report must name."""
