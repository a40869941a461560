"""Data sets for calibration, comparison and accuracy, and their fit to a model's inputs.

What ``--data`` takes:

* ``set.npz``: array ``x`` (or ``x_test``, or the only array), labels ``y`` (or ``y_test``); a model
  with several inputs takes arrays named like its inputs, or ``x0``, ``x1``, ..., and the labels of
  several outputs are named like these, or ``y0``, ``y1``, ...;
* ``set.npy``: ``x`` alone;
* a folder of images, one folder for each class, classes in the order of their sorted names;
* likewise a folder of WAV files (16-bit PCM, one channel) for a model that takes waveforms: values
  from -1 to 1, shorter files filled up with zeros;
* ``package.module:function``, which returns ``(x, y)``, ``x``, a dictionary of arrays named as in
  ``.npz``, or what gives these piece by piece (a ``tf.data.Dataset``, a generator, a
  ``PyDataset``); ``x`` and ``y`` may be lists with an array for each input and output;
* ``random``: seeded noise, enough to build but not to judge accuracy.

Slices and class names: see ``edgebuild.models.slices``.

The first dimension counts samples. 8-bit images keep their values 0 to 255 unless the
specification ends in ``?scale=0..1`` or ``?scale=-1..1``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Tensor
from edgebuild.limits import DATA_BYTES, elements, in_words, missing
from edgebuild.models import data_files, data_folders
from edgebuild.models.data_content import Arrays, Content, Names, Shape
from edgebuild.models.data_files import SCALES
from edgebuild.models.slices import class_names, read_slices

RANDOM_SAMPLES = 200
_CHUNK_ELEMENTS = 1 << 22  # quantizing takes about 30 B for each


class Input(Protocol):
    """What a model input says of itself; a Tensor and an InputSpec do."""

    @property
    def name(self) -> str:
        """Its name, for messages."""
        ...

    @property
    def shape(self) -> Shape:
        """The shape of one inference."""
        ...

    @property
    def dtype(self) -> DType:
        """The element type."""
        ...


class HasInputs(Protocol):
    """A model whose inputs are known, e.g. SourceModel."""

    @property
    def inputs(self) -> Sequence[Input]:
        """The inputs, in order."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """The names of the outputs, in order."""
        ...


@dataclass(frozen=True, eq=False)
class DataSet:
    """Samples for each model input, with labels when there are some.

    ``x`` holds an array (samples, ...) for each input; ``y`` one of labels (samples, ...) for the
    first output, or None, ``more_labels`` those of further outputs by their positions.
    ``source`` is the specification; ``is_random`` tells that it is noise. ``slices`` holds for each
    slice by its name (samples,) of strings, ``classes`` the names of the first classes or none.
    ``scale`` is the key of ``SCALES`` that 8-bit images were scaled by, None when they were not.
    ``positions`` (samples,) are those of the samples in the user's data, None where they are all of
    them.
    """

    x: tuple[np.ndarray, ...]
    y: np.ndarray | None
    source: str
    is_random: bool = False
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    scale: str | None = None
    more_labels: Mapping[int, np.ndarray] = field(default_factory=dict)
    positions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x[0])

    def place(self, sample: int) -> int:
        """Return where a sample is in the user's data."""
        return sample if self.positions is None else int(self.positions[sample])

    def take(self, chosen: np.ndarray) -> DataSet:
        """Return the samples at the positions ``chosen``, or where it is True."""
        places = np.arange(len(self)) if self.positions is None else self.positions
        return dataclasses.replace(
            self,
            x=tuple(array[chosen] for array in self.x),
            y=None if self.y is None else self.y[chosen],
            slices={name: values[chosen] for name, values in self.slices.items()},
            more_labels={output: y[chosen] for output, y in self.more_labels.items()},
            positions=places[chosen],
        )

    @property
    def has_labels(self) -> bool:
        """Whether there are labels of any output."""
        return self.y is not None or bool(self.more_labels)

    def labels_of(self, output: int) -> np.ndarray | None:
        """Return the labels of the output at this position, None where there are none."""
        return self.y if output == 0 else self.more_labels.get(output)

    def label_name(self, output: int) -> str:
        """Return what messages call the labels of an output: ``y``, or ``y1``."""
        return f"y{output}" if self.more_labels else "y"

    def normalization(self, position: int) -> tuple[float, float] | None:
        """Return the mean and the deviation by which 8-bit values became those of an input,
        ``(value - mean) / deviation``; None where the samples were not of 8 bits."""
        if self.scale is None:
            return (0.0, 1.0) if self.x[position].dtype == np.uint8 else None
        low, high = SCALES[self.scale]
        deviation = 255.0 / (high - low)
        return 0.0 - low * deviation, deviation


def load_data(
    spec: str | Path, model: HasInputs, *, folder: Path | None = None, seed: int = 0
) -> DataSet:
    """Load what ``--data`` names, for a model's inputs.

    Args:
        spec: see the module's docstring.
        model: its inputs decide the size of images and the names of arrays.
        folder: where relative paths and Python entries are looked up; by default the current one.
        seed: of ``random``.

    Raises:
        InputError: there is no such data, or it is not usable.
    """
    text, scale = _split_scale(str(spec))
    inputs = tuple(model.inputs)
    names = Names(tuple(t.name for t in inputs), tuple(model.outputs))
    base = folder or Path()
    path = base / Path(text).expanduser()
    if text == "random" and not path.exists():
        _check_random(inputs)
        return DataSet(_random(inputs, scale, seed), None, str(spec), is_random=True)
    if path.is_dir():
        shape = _sample_shape(inputs[0]) if len(inputs) == 1 else []
        content = data_folders.load_folder(path, shape, lambda: _image_shape(path, inputs))
    elif path.exists():
        content = data_files.load_arrays(path, names)
    elif ":" in text and not any(c in text for c in "/\\"):
        shapes = [tuple(_sample_shape(tensor)) for tensor in inputs]
        content = data_files.call_entry(text, base, names, shapes)
    else:
        raise InputError(
            missing(path, "file or folder", _foreign(path)),
            hint="a data set is a .npz or .npy file, a folder of images or WAV files by class, "
            "package.module:function, or random",
        )
    return _data_set(str(spec), text, content, scale)


def _foreign(path: Path) -> str:
    """Return that a file of such a name would not be read, where that is known."""
    own = ("", ".npz", ".npy")
    return "" if path.suffix.lower() in own else f" (nor is {path.suffix} a format of data sets)"


def _data_set(spec: str, text: str, content: Content, scale: str | None) -> DataSet:
    """Check what was read and put it together."""
    _check(text, content.x, content.y)
    return DataSet(
        _scaled(text, content.x, scale),
        content.y.get(0),
        spec,
        slices=read_slices(text, content.annotations, len(content.x[0])),
        classes=class_names(text, content.annotations),
        scale=scale,
        more_labels={output: y for output, y in content.y.items() if output},
    )


def match_inputs(data: DataSet, inputs: Sequence[Input]) -> tuple[np.ndarray, ...]:
    """Return for each model input an array (samples, \\*shape), float32 unless dtypes agree.

    Missing or extra dimensions of size 1 (a grey image's channel) are added or removed. ``inputs``
    are the tensors of a graph or the inputs of a SourceModel. Raises InputError that says what each
    input takes and what was given.
    """
    if len(data.x) != len(inputs):
        raise InputError(
            f"{data.source}: has {len(data.x)} arrays, but the model has {len(inputs)} inputs",
            details=[f"input {i} '{t.name}': {_sample_shape(t)}" for i, t in enumerate(inputs)],
            hint="name the arrays like the inputs, or x0, x1, ...",
        )
    return tuple(
        _match(data.source, i, x, tensor)
        for i, (x, tensor) in enumerate(zip(data.x, inputs, strict=True))
    )


def check_class_names(data: DataSet, graph: Graph) -> None:
    """Refuse names of more classes than the model has; an output of one value tells two apart."""
    counts = [tensor.shape[-1] if tensor.shape else 1 for tensor in graph.output_tensors]
    most = max(2, *counts) if counts else 2
    if len(data.classes) > most:
        raise InputError(
            f"{data.source}: has {len(data.classes):,} class names, but the model has {most:,} "
            "classes",
            hint="pass a name for each class, in the order of the model's output",
        )


def quantize_input(x: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return ``x`` as the tensor's dtype, with TFLite's rounding (half away from zero), saturated.

    An ``x`` that has the tensor's dtype already is returned as it is. The division is float32, as
    in TFLite's QUANTIZE.
    """
    if x.dtype == tensor.dtype.numpy:
        return x
    if tensor.quantization is None:
        return x.astype(tensor.dtype.numpy)
    result = np.empty(x.shape, tensor.dtype.numpy)
    rows = max(1, _CHUNK_ELEMENTS // max(1, x[:1].size))
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        result[part] = _quantized(x[part], tensor)
    return result


def _quantized(x: np.ndarray, tensor: Tensor) -> np.ndarray:
    ratio = x.astype(np.float32) / np.float32(tensor.scale)
    wide = ratio.astype(np.float64)  # so that adding a half is exact
    q = np.trunc(wide + np.copysign(0.5, wide)) + tensor.zero_point
    info = np.iinfo(tensor.dtype.numpy)
    return np.clip(q, info.min, info.max).astype(tensor.dtype.numpy)


def dequantize(q: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return ``scale * (q - zero_point)`` as float32."""
    if tensor.quantization is None:
        return q.astype(np.float32)
    shifted = q.astype(np.int32) - np.int32(tensor.zero_point)
    return shifted.astype(np.float32) * np.float32(tensor.scale)


def _split_scale(spec: str) -> tuple[str, str | None]:
    text, question, query = spec.partition("?")
    if not question:
        return text, None
    key, _, value = query.partition("=")
    if key != "scale" or value not in SCALES:
        raise InputError(
            f"data option '{query}' is not known", hint=f"scale={' or scale='.join(SCALES)}"
        )
    return text, value


def _scaled(text: str, x: Arrays, scale: str | None) -> Arrays:
    if scale is None:
        return x
    low, high = SCALES[scale]
    scaled = []
    for array in x:
        if array.dtype != np.uint8:
            raise InputError(
                f"{text}: scale={scale} is for 8-bit images, this is {array.dtype}",
                hint="leave the option out and store x as the model takes it",
            )
        scaled.append((array.astype(np.float32) * ((high - low) / 255.0) + low).astype(np.float32))
    return tuple(scaled)


def _random(inputs: Sequence[Input], scale: str | None, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in inputs:
        shape = (RANDOM_SAMPLES, *tensor.shape[_has_batch(tensor) :])
        if tensor.dtype in (DType.INT8, DType.UINT8, DType.INT16):
            info = np.iinfo(tensor.dtype.numpy)
            draw = rng.integers(info.min, info.max, shape, np.int64, endpoint=True)
            arrays.append(draw.astype(tensor.dtype.numpy))
        elif tensor.dtype != DType.FLOAT32:
            # An index: 0 and 1 are within any table.
            arrays.append(rng.integers(0, 2, shape).astype(tensor.dtype.numpy))
        elif scale is None:
            arrays.append(rng.normal(size=shape).astype(np.float32))
        else:
            arrays.append(rng.uniform(*SCALES[scale], size=shape).astype(np.float32))
    return tuple(arrays)


def _check_random(inputs: Sequence[Input]) -> None:
    size = 8 * RANDOM_SAMPLES * sum(elements(tensor.shape) for tensor in inputs)
    if size > DATA_BYTES:
        raise InputError(
            f"{RANDOM_SAMPLES} random samples for this model take {size:,} B, more than "
            f"{in_words(DATA_BYTES)}",
            hint="pass a few samples of your own with --data",
        )


def _has_batch(tensor: Input) -> bool:
    return len(tensor.shape) > 1 and tensor.shape[0] == 1


def _sample_shape(tensor: Input) -> list[int]:
    return list(tensor.shape[_has_batch(tensor) :])


def _image_shape(path: Path, inputs: Sequence[Input]) -> tuple[int, int, int]:
    shape = _sample_shape(inputs[0]) if len(inputs) == 1 else []
    if len(shape) == 2:
        shape = [*shape, 1]
    if len(shape) != 3 or shape[2] not in (1, 3, 4):
        takes = "; ".join(f"'{t.name}' {_sample_shape(t)}" for t in inputs)
        raise InputError(
            f"{path}: a folder of images is for a model with one image input "
            f"(height, width, 1, 3 or 4 channels); this one takes {takes}",
            hint="pass the data as .npz",
        )
    return shape[0], shape[1], shape[2]


def _check(source: str, x: Arrays, labels: Mapping[int, np.ndarray]) -> None:
    """Refuse what can be used with no model; shapes are checked against the model later."""
    if not x:
        raise InputError(
            f"{source}: has no samples",
            hint="save at least one sample; 100 to 200 are good for calibration",
        )
    for position, array in enumerate(x):
        label = f"{source}: x" if len(x) == 1 else f"{source}: array {position}"
        if array.dtype.kind not in "fiub":
            raise InputError(
                f"{label} has dtype {array.dtype}, expected numbers", hint="store x as float32"
            )
        if array.ndim == 0:
            raise InputError(
                f"{label} is a single value, not samples",
                hint="x must have the shape (samples, ...), as the model's input has",
            )
        if array.size == 0:
            raise InputError(
                f"{label} is empty, its shape is {list(array.shape)}",
                hint="save at least one sample; 100 to 200 are good for calibration",
            )
        if len(array) != len(x[0]):
            raise InputError(
                f"{label} has {len(array):,} samples, array 0 has {len(x[0]):,}",
                hint="save as many samples for each input of the model",
            )
        if array.dtype.kind == "f":
            _check_finite(label, array)
    for output, y in labels.items():
        _check_labels(
            source, "y" if len(labels) == 1 and not output else f"y{output}", y, len(x[0])
        )


def _check_labels(source: str, name: str, y: np.ndarray, samples: int) -> None:
    if y.ndim == 0 or len(y) != samples:
        given = f"{len(y):,} labels" if y.ndim else "a single label"
        raise InputError(
            f"{source}: {name} has {given} for {samples:,} samples in x",
            hint=f"store one label per sample, or leave {name} out to calibrate without labels",
        )
    if y.dtype.kind not in "fiub":
        raise InputError(
            f"{source}: {name} has dtype {y.dtype}", hint="store y as class numbers, or one-hot"
        )
    if y.dtype.kind == "f":
        _check_finite(f"{source}: {name}", y)


def _check_finite(label: str, array: np.ndarray) -> None:
    bad = ~np.isfinite(array)
    if count := int(bad.sum()):
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        values = "value" if count == 1 else "values"
        raise InputError(
            f"{label} contains {count:,} NaN or infinite {values}, the first "
            f"in sample {first[0]} at {list(first[1:])}",
            hint="repair or remove these samples; np.argwhere(~np.isfinite(x)) finds them",
        )


def _match(source: str, position: int, x: np.ndarray, tensor: Input) -> np.ndarray:
    expected = _sample_shape(tensor)
    given = list(x.shape[1:])
    if [d for d in given if d != 1] != [d for d in expected if d != 1]:
        hint = f"x must have the shape (samples, {', '.join(map(str, expected))})"
        if list(x.shape) == expected:
            hint = "the first dimension counts samples: x[np.newaxis] makes one sample"
        raise InputError(
            f"{source}: input {position} '{tensor.name}' expects samples of shape {expected}, "
            f"got {given} (x has shape {list(x.shape)}, {x.dtype})",
            hint=hint,
        )
    shaped = x.reshape(len(x), *tensor.shape)
    if shaped.dtype == tensor.dtype.numpy:
        return shaped
    if tensor.dtype in (DType.INT32, DType.INT64, DType.BOOL):
        if shaped.dtype.kind == "f" and np.any(shaped != np.trunc(shaped)):
            raise InputError(
                f"{source}: input {position} '{tensor.name}' takes {tensor.dtype}, "
                f"given {x.dtype} with fractions",
                hint=f"save whole numbers: x.astype('{tensor.dtype}')",
            )
        return shaped.astype(tensor.dtype.numpy)
    with np.errstate(over="ignore"):
        result = shaped.astype(np.float32)
    if x.dtype == np.float64:
        _check_finite(f"{source}: input {position} '{tensor.name}' as float32", result)
    return result
