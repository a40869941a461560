"""Keras and SavedModel models in memory: inputs, conversion, float outputs. For the child process.

Every TensorFlow import in this module is inside a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.errors import EdgebuildError, ModelError
from edgebuild.files import TemporaryFolder
from edgebuild.models.float_tflite import distinct_names, named, stripped
from edgebuild.models.keras_import import import_keras
from edgebuild.models.obstacles import Danger, converter_error, danger, refuse_state
from edgebuild.models.tf_float32 import in_float32

_BATCH = 128


class TfModel:
    """A TensorFlow function from a list of batches to a list of outputs, and the object that owns
    its variables.

    ``outputs`` are the names of its outputs, ``notes`` say what is not as it was saved, ``warn`` is
    called before a step that may end the process.
    """

    def __init__(
        self,
        inputs: list[dict[str, Any]],
        outputs: list[str],
        function: Callable[[list[Any]], list[Any]],
        owner: Any,
    ) -> None:
        self.inputs = inputs
        self.notes: tuple[str, ...] = ()
        self.warn: Callable[[Danger], None] = lambda _: None
        self._outputs = outputs
        self._function = function
        self._owner = owner

    @property
    def outputs(self) -> list[str]:
        """The outputs' names, as the converted model has them."""
        return distinct_names(self._outputs)

    def to_int8(self, samples: Sequence[np.ndarray]) -> bytes:
        """Return the model as full int8 ``.tflite``, batch 1, per channel, int8 at both ends.

        ``samples`` holds for each input an array (samples, 1, \\*shape).
        """
        import tensorflow as tf

        def representative() -> Iterator[list[Any]]:
            for sample in zip(*samples, strict=True):
                yield [tf.constant(array) for array in sample]

        def prepare(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = representative
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8

        return self._converted(prepare, "full int8", calibrates=True)

    def to_tflite(self, form: str = "float32") -> bytes:
        """Return the model as ``.tflite``, batch 1, operators fused: ``float32``, ``float16``
        (weights) or ``dynamic`` range (int8 weights)."""
        import tensorflow as tf

        def prepare(converter: Any) -> None:
            if form != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if form == "float16":
                converter.target_spec.supported_types = [tf.float16]

        return self._converted(prepare, f"{form} .tflite")

    def _converted(
        self, prepare: Callable[[Any], None], wanted: str, *, calibrates: bool = False
    ) -> bytes:
        """Return what the converter makes.

        Raises:
            ModelError: a known cause keeps it from that.
            ToolError: it fails for another.
        """
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        graph = tf.Graph()
        try:
            concrete = tf.function(self._single).get_concrete_function(*self._specs())
            graph = concrete.graph
            refuse_state(graph, self._owner)
            frozen = in_float32(convert_variables_to_constants_v2(concrete))
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], self._owner)
            prepare(converter)
            found = danger(graph, self._owner) if calibrates else None
            if found is not None:
                self.warn(found)
            content = stripped(converter.convert())
        except EdgebuildError:
            raise
        except Exception as error:
            raise converter_error(error, wanted, graph, self._owner) from error
        return named(content, [entry["name"] for entry in self.inputs], self._outputs)

    def _single(self, *arguments: Any) -> list[Any]:
        return self._function(list(arguments))

    def _specs(self) -> list[Any]:
        """Return the inputs for one sample; the converter sorts arguments by name, and two digits
        keep their order."""
        import tensorflow as tf

        return [
            tf.TensorSpec([1, *entry["shape"][1:]], entry["dtype"], name=f"input_{i:02}")
            for i, entry in enumerate(self.inputs)
        ]

    def predict(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the float outputs for arrays (samples, 1, \\*shape), in the same form."""
        import tensorflow as tf

        parts = []
        for start in range(0, len(arrays[0]), _BATCH):
            batch = [tf.constant(array[start : start + _BATCH, 0]) for array in arrays]
            parts.append([np.asarray(output) for output in self._function(batch)])
        return [np.concatenate(column)[:, np.newaxis] for column in zip(*parts, strict=True)]


def open_tf_model(path: Path, kind: str, *, trust: bool) -> TfModel:
    """Load a ``.keras`` or ``.h5`` file or a SavedModel folder."""
    import_keras()
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if kind == "saved_model":
        return _open_saved_model(path, trust=trust)
    from edgebuild.models.keras_file import load_keras

    model, notes = load_keras(path, kind, trust=trust)
    opened = of_keras(model)
    opened.notes = notes
    return opened


def of_keras(model: Any) -> TfModel:
    """Return a Keras model that is in memory."""
    names = list(getattr(model, "input_names", []))
    inputs = [
        {
            "name": names[i] if i < len(names) else tensor.name,
            "shape": [None if d is None else int(d) for d in tensor.shape],
            "dtype": str(getattr(tensor.dtype, "name", tensor.dtype)),
        }
        for i, tensor in enumerate(model.inputs)
    ]
    return TfModel(
        inputs,
        _output_names(model),
        lambda batches: as_list(model(inputs_of(model, batches), training=False)),
        model,
    )


def inputs_of(model: Any, batch: Sequence[Any]) -> Any:
    """Return ``batch``, a tensor for each of a Keras model's ``inputs``, in the form in which it
    takes them: of a dictionary they are in the order of its sorted keys."""
    import keras

    structure = getattr(model, "_inputs_struct", None)
    if structure is None:  # keras.Sequential
        return batch[0]
    return keras.tree.pack_sequence_as(structure, list(batch))


def as_list(outputs: Any) -> list[Any]:
    """Return a Keras model's outputs in the order of its ``outputs``."""
    import keras

    found: list[Any] = keras.tree.flatten(outputs)
    return found


def _output_names(model: Any) -> list[str]:
    """Return the keys of a dictionary of outputs, else the names of the layers that made them."""
    import keras

    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, dict):
        return [key for key in sorted(structure) for _ in keras.tree.flatten(structure[key])]
    return [tensor._keras_history.operation.name for tensor in model.outputs]


def _open_saved_model(path: Path, *, trust: bool) -> TfModel:
    """Load the ``serving_default`` signature (or the only one) of a SavedModel."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:
        raise ModelError(
            f"{path}: saved_model.pb is damaged: {error}", hint="export or copy the model again"
        ) from error
    if not proto.meta_graphs:
        raise ModelError(f"{path}: saved_model.pb is empty", hint="export the model again")
    if not trust:
        _refuse_side_effects(path, proto)
    for meta_graph in proto.meta_graphs:
        # An optimizer's slots need the optimizer's class, and inference needs neither.
        for node in meta_graph.object_graph_def.nodes:
            del node.slot_variables[:]
    with TemporaryFolder("saved-model") as name:
        folder = Path(name)
        for entry in path.iterdir():
            if entry.name != "saved_model.pb":
                (folder / entry.name).symlink_to(entry.resolve())
        (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
        model = _load_saved_model(path, str(name))
    signatures = dict(model.signatures)
    if not signatures:
        raise ModelError(f"{path}: has no signature", hint="save it with signatures=...")
    key = "serving_default" if "serving_default" in signatures else sorted(signatures)[0]
    signature = signatures[key]
    _, keywords = signature.structured_input_signature
    # The order in which the exported function takes its arguments, not the alphabet's.
    order = [t.name.split(":")[0] for t in signature.inputs if t.dtype != tf.resource]
    names = sorted(keywords, key=lambda n: order.index(n) if n in order else len(order))
    inputs = [_signature_input(n, keywords[n]) for n in names]

    outputs = sorted(signature.structured_outputs, key=_natural)

    def call(batches: list[Any]) -> list[Any]:
        made = signature(**dict(zip(names, batches, strict=True)))
        return [made[name] for name in outputs]

    return TfModel(inputs, outputs, call, model)


def _load_saved_model(path: Path, folder: str) -> Any:
    import tensorflow as tf

    try:
        return tf.saved_model.load(folder)
    except MemoryError:
        raise
    except Exception as error:  # of many kinds: of protobuf, of files, of missing operators
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path}: TensorFlow cannot load the SavedModel: {first[:300]}",
            hint="export the model again with this TensorFlow (model.export(...)), and copy the "
            "whole folder",
        ) from error


def _signature_input(name: str, spec: Any) -> dict[str, Any]:
    shape = None if spec.shape.rank is None else spec.shape.as_list()
    return {"name": name, "shape": shape, "dtype": spec.dtype.name}


_SIDE_EFFECTS = {
    *("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles"),
    *("FixedLengthRecordReaderV2", "TFRecordReaderV2", "TextLineReaderV2", "WholeFileReaderV2"),
    *("TFRecordDataset", "TextLineDataset", "FixedLengthRecordDatasetV2", "SaveDataset"),
    *("SaveDatasetV2", "LoadDataset", "SendTPUEmbeddingGradients", "DebugIdentityV3"),
    *("RpcCall", "RpcClient", "RpcServer", "WriteSummary", "CreateSummaryFileWriter"),
}
"""Operators with which a graph reaches beyond itself: code, files, the network."""


def _refuse_side_effects(path: Path, proto: Any) -> None:
    found: set[str] = set()
    for meta_graph in proto.meta_graphs:
        found |= {node.op for node in meta_graph.graph_def.node}
        for function in meta_graph.graph_def.library.function:
            found |= {node.op for node in function.node_def}
    if found & _SIDE_EFFECTS:
        raise ModelError(
            f"{path}: the SavedModel runs code or touches files "
            f"({', '.join(sorted(found & _SIDE_EFFECTS))})",
            hint="if you trust the source of the model, add --trust-model (it runs that code)",
        )


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts ``output_2`` before ``output_10``."""
    return [(int(p), "") if p.isdigit() else (0, p) for p in re.split(r"(\d+)", name)]
