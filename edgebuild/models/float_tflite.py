"""A float ``.tflite``: quantized with ``litert-quantizer``, run with LiteRT. For the child process.

The bytes have been checked by ``edgebuild.tflite.reader`` before they get here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebuild.errors import InputError, ModelError
from edgebuild.models.bias import repair_biases
from edgebuild.models.float16_tflite import in_float32
from edgebuild.tflite import schema
from edgebuild.tflite.reader import _DAMAGE, clean_name

_SIGNATURE = "serving_default"


def tensor_name(index: int) -> str:
    """Return the name of a tensor while it is quantized.

    The quantizers append a number to what they copy (a bias that two layers share): the last
    character keeps copies of ``t2_`` apart from ``t21_``.
    """
    return f"t{index}_"


class FloatTflite:
    """A float ``.tflite`` model in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = normalised(content)
        self._names = end_names(unpack(content))

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Empty: the parent has read the flatbuffer itself."""
        return []

    @property
    def outputs(self) -> list[str]:
        """Empty likewise."""
        return []

    def to_int8(self, samples: Sequence[np.ndarray]) -> bytes:
        """Return the model as full int8 with int8 inputs and outputs, per channel.

        ``samples`` holds for each input an array (samples, \\*shape). ModelError for a model that
        LiteRT does not run.
        """
        from litert_quantizer import qtyping, quantizer, recipe
        from litert_quantizer.calibrator import Calibrator
        from litert_quantizer.recipe_manager import RecipeManager
        from litert_quantizer.utils import qsv_utils

        static = recipe.static_wi8_ai8()
        manager = RecipeManager()
        manager.load_quantization_recipe(static)
        names = [f"input_{i:02}" for i in range(len(samples))]
        data = [dict(zip(names, sample, strict=True)) for sample in zip(*samples, strict=True)]
        run_litert(self.content, [array[:1] for array in samples])  # says in words why it cannot
        # One thread, and the extremes of all samples: the result depends on the data alone.
        calibrator = Calibrator(
            self.content, num_threads=1, qsv_update_func=qsv_utils.min_max_update
        )
        calibrator.calibrate({_SIGNATURE: data}, manager)
        ranges: dict[str, qtyping.QSV] = calibrator.get_model_qsvs()
        result = quantizer.Quantizer(bytearray(self.content), static).quantize(
            ranges, enable_progress_bar=False, enable_progress_report=False
        )
        if result.quantized_model is None:
            raise ModelError("litert-quantizer returned no model")
        quantized = unpack(bytes(result.quantized_model))
        repair_biases(quantized, unpack(self.content))
        return self._finished(pack(quantized))

    def to_tflite(self, form: str) -> bytes:
        """Return the model as ``.tflite`` of float32, of float16 weights, or dynamic range."""
        from litert_quantizer import qtyping, quantizer, recipe
        from litert_quantizer.algorithm_manager import AlgorithmName
        from litert_quantizer.recipe_manager import RecipeManager

        if form == "float32":
            return self._finished(self.content)
        steps = recipe.dynamic_wi8_afp32()
        if form == "float16":
            manager = RecipeManager()
            everything = qtyping.TFLOperationName.ALL_SUPPORTED
            casting = AlgorithmName.FLOAT_CASTING
            manager.add_weight_only_config(".*", everything, 16, algorithm_key=casting)
            steps = manager.get_quantization_recipe()
        result = quantizer.Quantizer(bytearray(self.content), steps).quantize(
            enable_progress_bar=False, enable_progress_report=False
        )
        if result.quantized_model is None:
            raise ModelError("litert-quantizer returned no model")
        return self._finished(bytes(result.quantized_model))

    def _finished(self, content: bytes) -> bytes:
        """Return a converted model, stripped, with the source's names of inputs and outputs: an
        app's wrapper calls them by these."""
        return named(stripped(content), *self._names)

    def predict(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return for each output an array (samples, \\*shape)."""
        return run_litert(self.content, arrays)


class FinishedTflite:
    """A ``.tflite`` model to be run as it is, with or without XNNPACK."""

    def __init__(self, content: bytes, *, xnnpack: bool) -> None:
        self._content = content
        self._xnnpack = xnnpack

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Empty: the parent has read the flatbuffer itself."""
        return []

    @property
    def outputs(self) -> list[str]:
        """Empty likewise."""
        return []

    def predict(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return for each output an array (samples, \\*shape)."""
        return run_litert(self._content, arrays, xnnpack=self._xnnpack)


def run_litert(
    content: bytes, arrays: Sequence[np.ndarray], *, xnnpack: bool = True
) -> list[np.ndarray]:
    """Run a whole data set, an array (samples, \\*shape) for each input; likewise for outputs.

    ModelError for a model that LiteRT does not take.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.AUTO if xnnpack else resolver,
        )
        interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        results: list[list[np.ndarray]] = [[] for _ in outputs]
        for sample in zip(*arrays, strict=True):
            for detail, array in zip(inputs, sample, strict=True):
                interpreter.set_tensor(detail["index"], array)
            interpreter.invoke()
            for found, detail in zip(results, outputs, strict=True):
                found.append(interpreter.get_tensor(detail["index"]))
    except (RuntimeError, ValueError) as error:  # what LiteRT raises, whatever the cause
        first = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(f"LiteRT cannot run the model: {first[:300]}") from error
    return [
        np.stack(found) if found else np.zeros((0, *detail["shape"]), detail["dtype"])
        for found, detail in zip(results, outputs, strict=True)
    ]


def resized(content: bytes, shapes: Sequence[Sequence[int]]) -> bytes:
    """Return the model with its inputs in these shapes, and every other tensor in the shape that
    LiteRT finds for it in a run on zeros.

    InputError where the operators do not take such inputs.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    try:
        for detail, shape in zip(interpreter.get_input_details(), shapes, strict=True):
            interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        words = str(error).strip().splitlines() or [""]
        raise InputError(
            f"the model does not take inputs of {' and '.join(map(str, shapes))}: {words[0][:200]}",
            hint="--input-shape with the lengths that it was trained with",
        ) from error
    model = unpack(content)
    tensors = model.subgraphs[0].tensors
    for detail in interpreter.get_tensor_details():
        if detail["index"] < len(tensors):
            tensors[detail["index"]].shape = np.array(detail["shape"], np.int32)
            tensors[detail["index"]].shapeSignature = None
    return pack(model)


def normalised(content: bytes) -> bytes:
    """Return the model as litert-quantizer takes it.

    Tensors get distinct names, the model gets one signature, and weights that are stored in 8 bits
    (dynamic range) or in float16 become float32.
    """
    model = unpack(content)
    in_float32(model)
    for code in model.operatorCodes:
        # Models from before 2020 have only the 8-bit field, which litert-quantizer does not read.
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    subgraph = model.subgraphs[0]
    for index, tensor in enumerate(subgraph.tensors):
        tensor.name = tensor_name(index).encode()
        tensor.shapeSignature = None
        _to_float(model, tensor)
    s = schema.module()
    signature = s.SignatureDefT()
    signature.signatureKey = _SIGNATURE.encode()
    signature.subgraphIndex = 0
    signature.inputs = _map(subgraph.inputs, "input")
    signature.outputs = _map(subgraph.outputs, "output")
    model.signatureDefs = [signature]
    return pack(model)


def float16_as_float32(content: bytes) -> bytes:
    """Return a model with float32 in the place of float16."""
    model = unpack(content)
    in_float32(model)
    return pack(model)


def stripped(content: bytes) -> bytes:
    """Return the model without metadata and signatures: they hold names, versions and paths.

    Inputs and outputs take the order of the signature's numbered names.
    """
    model = unpack(content)
    _order_by_signature(model)
    model.description = b""
    model.metadata = None
    model.metadataBuffer = None
    model.signatureDefs = None
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            tensor.shapeSignature = None
            if tensor.quantization is not None:
                # The calibrated ranges are spent; scale and zero point say all that is used.
                tensor.quantization.min = tensor.quantization.max = None
    used = sorted({0} | {t.buffer for g in model.subgraphs for t in g.tensors})
    place = {old: new for new, old in enumerate(used)}
    model.buffers = [model.buffers[old] for old in used]
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            tensor.buffer = place[tensor.buffer]
    return pack(model)


def named(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return the model with these names of its inputs and of its outputs.

    Of equal names among the inputs, or among the outputs, all but the first get a number. A tensor
    that is there twice has the first name, and one whose name is empty keeps its own.
    """
    model = unpack(content)
    tensors = model.subgraphs[0].tensors
    done: set[int] = set()
    for indices, names in zip(_ends(model), (inputs, outputs), strict=True):
        for index, name in zip(indices, distinct_names(names), strict=True):
            if index not in done and name:
                tensors[index].name = name.encode()
            done.add(index)
    return pack(model)


def end_names(model: Any) -> tuple[list[str], list[str]]:
    """Return the names of the first subgraph's inputs, and of its outputs."""
    tensors = model.subgraphs[0].tensors
    inputs, outputs = ([clean_name(tensors[i].name or b"") for i in end] for end in _ends(model))
    return inputs, outputs


def _ends(model: Any) -> tuple[list[int], list[int]]:
    graph = model.subgraphs[0]
    inputs, outputs = ([int(i) for i in end] for end in (graph.inputs, graph.outputs))
    return inputs, outputs


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names as tensors can have them; of equal ones all but the first get a number."""
    found: list[str] = []
    for name in names:
        clean = clean_name(name.encode(errors="replace"))
        distinct, count = clean, 0
        while clean and distinct in found:
            count += 1
            distinct = f"{clean}_{count}"
        found.append(distinct)
    return found


def _order_by_signature(model: Any) -> None:
    """Put inputs and outputs in order: the TFLite converter may shuffle them."""
    for signature in (model.signatureDefs or [])[:1]:
        subgraph = model.subgraphs[signature.subgraphIndex]
        for field in ("inputs", "outputs"):
            entries = getattr(signature, field) or []
            entries = sorted(entries, key=lambda e: (len(e.name), e.name))
            indices = [int(e.tensorIndex) for e in entries]
            if sorted(indices) == sorted(int(i) for i in getattr(subgraph, field)):
                setattr(subgraph, field, indices)


def _to_float(model: Any, tensor: Any) -> None:
    """Replace quantized constants by their float32 values, in a buffer of their own."""
    s = schema.module()
    quantization, raw = tensor.quantization, model.buffers[tensor.buffer].data
    quantized = quantization is not None and quantization.scale is not None
    if not quantized or raw is None or tensor.type not in (s.TensorType.INT8, s.TensorType.UINT8):
        return
    dtype = np.int8 if tensor.type == s.TensorType.INT8 else np.uint8
    q = np.asarray(raw, np.uint8).view(dtype).reshape(tensor.shape)
    along = [1] * q.ndim
    if len(quantization.scale) > 1:
        along[quantization.quantizedDimension] = len(quantization.scale)
    zeros = np.zeros(1) if quantization.zeroPoint is None else np.asarray(quantization.zeroPoint)
    zeros = np.broadcast_to(zeros, len(quantization.scale)).reshape(along)
    values = (q.astype(np.int32) - zeros) * np.asarray(quantization.scale).reshape(along)
    buffer = s.BufferT()
    buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    tensor.type = s.TensorType.FLOAT32
    tensor.quantization = None


def _map(indices: Sequence[int], stem: str) -> list[Any]:
    entries = []
    for position, index in enumerate(indices):
        entry = schema.module().TensorMapT()
        entry.name = f"{stem}_{position:02}".encode()
        entry.tensorIndex = int(index)
        entries.append(entry)
    return entries


def unpack(content: bytes) -> Any:
    """Return the model as objects, with the data that lies behind the flatbuffer inside it."""
    s = schema.module()
    try:
        model = s.ModelT.InitFromObj(s.Model.GetRootAs(content, 0))
    except _DAMAGE as error:
        raise ModelError(
            f"the model's flatbuffer is damaged or truncated ({len(content):,} bytes): {error}",
            hint="export or copy the model again",
        ) from error
    for buffer in model.buffers:
        if buffer.offset > 1:
            raw = content[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(raw, np.uint8)
        buffer.offset = buffer.size = 0
    return model


def pack(model: Any) -> bytes:
    """Return the flatbuffer of model objects; the same objects give the same bytes."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
