"""The reader takes real models whole and turns anything damaged into a ModelError."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from edgebuild.errors import ModelError
from edgebuild.graph import ABSENT, DType, Tensor
from edgebuild.graph.verify import verify
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.tflite import schema
from edgebuild.tflite.reader import clean_name, read_tflite, read_tflite_file
from edgebuild.tflite.writer import write_tflite
from tests.single_ops import base, c, edited, t
from tests.small import small_model


def small_graph():
    weights = np.arange(12).reshape(3, 4)
    case = one_op(
        "fc",
        "FULLY_CONNECTED",
        [activation((1, 4), 0.5, -3), constant(weights, [0.1, 0.2, 0.3]), None],
        [activation((1, 3), 0.25, 7)],
        {"fused_activation_function": "RELU6", "keep_num_dims": True},
    )
    return case.graph


def test_round_trip_keeps_everything():
    graph = small_graph()
    again = read_tflite(write_tflite(graph), name="fc")
    op = again.ops[0]
    assert op.kind == "FULLY_CONNECTED"
    assert op.inputs == (0, 1, ABSENT)
    assert op.attrs["fused_activation_function"] == "RELU6"
    assert op.attrs["keep_num_dims"] is True
    assert op.attrs["weights_format"] == "DEFAULT"
    assert again.tensors[1].quantization.scales == pytest.approx((0.1, 0.2, 0.3))
    assert again.tensors[1].data.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert not again.tensors[1].data.flags.writeable
    assert again.tensors[2].zero_point == 7


def test_writing_is_deterministic():
    assert write_tflite(small_graph()) == write_tflite(small_graph())


@pytest.mark.parametrize(
    ("model", "operators"),
    [("ad01_int8", 10), ("resnet8_int8", 15), ("kws_int8", 12), ("vww96_int8", 30)],
)
def test_real_models(mlperf_dir: Path, model: str, operators: int):
    graph = read_tflite_file(mlperf_dir / f"{model}.tflite")
    assert sum(op.kind != "RESHAPE" for op in graph.ops) == operators
    assert all(t.dtype == DType.INT8 for t in (*graph.input_tensors, *graph.output_tensors))
    assert read_tflite(write_tflite(graph)).fingerprint() == graph.fingerprint()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (DType.INT4, [-8, 7, -1, 0, 3]),
        (DType.INT2, [-2, 1, -1, 0, 1]),
        (DType.FLOAT16, [0.5, -2, 65504, 0, 1]),
        (DType.FLOAT64, [0.1, -2, 1e300, 0, 1]),
    ],
)
def test_types_that_no_kernel_has_are_read(dtype: DType, values: list):
    graph = small_graph()
    data = np.array(values, dtype.numpy)
    odd = Tensor(9, "odd", data.shape, dtype, data=data)
    model = write_tflite(graph.replace(tensors={**graph.tensors, 9: odd}))
    read = read_tflite(model).tensors[3]
    assert (read.dtype, read.data.tolist()) == (dtype, data.tolist())
    assert read.nbytes == -(-len(values) * dtype.bits // 8)


def test_custom_operators_and_versions_are_read():
    graph = small_graph()
    op = dataclasses.replace(
        graph.ops[0], kind="CUSTOM mine", attrs={"custom_options": b"\1\2\3"}, version=7
    )
    read = read_tflite(write_tflite(graph.replace(ops=(op,)))).ops[0]
    assert (read.kind, read.version) == ("CUSTOM mine", 7)
    assert read.attrs == {"custom_options": b"\1\2\3"}


def test_intermediate_tensors_are_kept():
    """LiteRT does not run an int8 LSTM without them."""
    graph = small_graph()
    op = dataclasses.replace(graph.ops[0], intermediates=(2, ABSENT))
    lstm = graph.replace(ops=(op,))
    assert read_tflite(write_tflite(lstm)).ops[0].intermediates == (2, ABSENT)
    assert lstm.fingerprint() != graph.fingerprint()
    missing = graph.replace(ops=(dataclasses.replace(op, intermediates=(9,)),))
    with pytest.raises(ModelError, match="has intermediate tensor 9, which is not there"):
        verify(missing)


def test_options_of_reals_are_kept():
    graph = one_op(
        *("bucketize", "BUCKETIZE", [activation((1, 4), dtype=DType.FLOAT32)]),
        [Tensor(0, "", (1, 4), DType.INT32)],
        {"boundaries": (0.5, 1.25)},
    ).graph
    assert read_tflite(write_tflite(graph)).ops[0].attrs["boundaries"] == (0.5, 1.25)


def test_further_subgraphs_are_kept_beside_the_first():
    graph = read_tflite(_edited(lambda m: m.subgraphs.append(m.subgraphs[0])))
    assert [len(part.ops) for part in (graph, *graph.others)] == [1, 1]


def test_a_fault_of_a_further_subgraph_is_one_of_the_file():
    def edit(model):
        model.subgraphs.append(schema.module().SubGraphT.InitFromObj(_second(model)))
        model.subgraphs[1].operators[0].inputs = [0, 77, -1]

    with pytest.raises(ModelError, match="reads tensor 77"):
        read_tflite(_edited(edit))


def _second(model):
    """Return the first subgraph once more, as an object of its own."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.subgraphs[0].Pack(builder))
    return schema.module().SubGraph.GetRootAs(bytes(builder.Output()), 0)


def test_sparse_constants_are_known_without_their_values():
    def make_sparse(model):
        model.subgraphs[0].tensors[1].sparsity = schema.module().SparsityParametersT()

    model = _edited(make_sparse)
    weights = read_tflite(model).tensors[1]
    assert weights.is_constant and weights.sparse
    assert weights.data is None


def test_dimensions_that_are_known_only_at_run_time():
    model = _edited(lambda m: setattr(m.subgraphs[0].tensors[0], "shapeSignature", [-1, 4]))
    tensors = read_tflite(model).tensors
    assert [t.is_dynamic for t in tensors.values()] == [True, False, False]
    assert (tensors[0].shape, tensors[0].signature) == ((1, 4), (-1, 4))


def test_a_shape_that_is_itself_open_is_one_of_ones():
    model = _edited(lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [-1, 4]))
    tensor = read_tflite(model).tensors[0]
    assert (tensor.shape, tensor.signature) == ((1, 4), (-1, 4))


def test_every_options_table_belongs_to_an_operator():
    kinds = schema.enum_values("BuiltinOperator")
    tables = {schema.options_of_kind(kind) for kind in kinds}
    assert tables - {None} == set(schema.enum_values("BuiltinOptions")) - {"NONE"}


def test_not_a_flatbuffer():
    with pytest.raises(ModelError, match="not a TFLite flatbuffer"):
        read_tflite(b"PK\x03\x04" + bytes(100), where="net.tflite")


def test_missing_file(tmp_path: Path):
    with pytest.raises(ModelError, match="no such file"):
        read_tflite_file(tmp_path / "none.tflite")


@pytest.mark.parametrize("kept", [0, 1, 8, 9, 20, 100, 300, -40, -4])
def test_truncated(kept: int):
    with pytest.raises(ModelError):
        read_tflite(write_tflite(small_graph())[:kept])


def test_bit_flips_never_crash():
    """Any damage gives a graph or a ModelError, nothing else."""
    data = write_tflite(small_graph())
    rng = random.Random(1)
    failures = 0
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(8, len(damaged))] ^= 1 << rng.randrange(8)
        try:
            read_tflite(bytes(damaged))
        except ModelError:
            failures += 1
    assert failures > 200


def _edited(edit) -> bytes:
    """Return the small model's bytes after ``edit`` changed the schema's object form."""
    import flatbuffers

    s = schema.module()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(write_tflite(small_graph()), 0))
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: setattr(m, "subgraphs", []), "no subgraph"),
        (lambda m: setattr(m.subgraphs[0].tensors[0], "type", 99), "has type number 99"),
        (lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [1] * 33), "33 dimensions"),
        (lambda m: setattr(m.subgraphs[0].tensors[1], "shape", [3, 5]), "12 bytes of data"),
        (lambda m: setattr(m.subgraphs[0].tensors[1], "buffer", 99), "refers to buffer 99"),
        (lambda m: setattr(m.subgraphs[0].operators[0], "opcodeIndex", 5), "code 5"),
        (lambda m: setattr(m.subgraphs[0].operators[0], "inputs", [0, 77, -1]), "reads tensor 77"),
        (
            lambda m: setattr(m.subgraphs[0].operators[0].builtinOptions, "weightsFormat", 9),
            "unknown value 9",
        ),
    ],
)
def test_hostile_fields(edit, message: str):
    with pytest.raises(ModelError, match=message):
        read_tflite(_edited(edit))


def test_zero_points_of_another_number_than_scales_are_read_as_tflite_micro_does():
    def edit(model):
        model.subgraphs[0].tensors[1].quantization.zeroPoint = [5, 6]

    assert read_tflite(_edited(edit)).tensors[1].quantization.zero_points == (5, 5, 5)


def test_shared_buffers_cannot_multiply_work():
    """Many tensors that share one large buffer are refused by the byte budget."""

    def edit(model):
        tensor = model.subgraphs[0].tensors[1]
        tensor.shape, tensor.quantization = [1 << 20], None
        model.buffers[tensor.buffer].data = np.zeros(1 << 20, np.uint8)
        model.subgraphs[0].tensors += [tensor] * 50

    with pytest.raises(ModelError, match="more than edgebuild reads"):
        read_tflite(_edited(edit))


def test_names_are_cleaned():
    assert clean_name(b'a\x00b\x1b[31m"; rm -rf /\xff') == 'ab[31m"; rm -rf /\ufffd'
    assert len(clean_name(b"x" * 10_000)) == 200


def test_custom_operator_is_named():
    def edit(model):
        model.operatorCodes[0].builtinCode = 32
        model.operatorCodes[0].deprecatedBuiltinCode = 32
        model.operatorCodes[0].customCode = b"edgetpu-custom-op"

    assert read_tflite(_edited(edit)).ops[0].kind == "CUSTOM edgetpu-custom-op"


def test_fingerprint_sees_weights():
    graph = small_graph()
    weights = graph.tensors[1]
    changed = np.array(weights.data)
    changed[0, 0] += 1
    tensors = {**graph.tensors, 1: dataclasses.replace(weights, data=changed)}
    assert graph.replace(tensors=tensors).fingerprint() != graph.fingerprint()


def test_a_constant_without_elements_is_read():
    """A RESHAPE to a scalar has such a shape, for which a file holds no data."""
    spec = edited(
        base("RESHAPE"), inputs={0: t((1, 1)), 1: c([])}, outputs={0: t(())}, new_shape=()
    )
    graph = read_tflite(write_tflite(spec.graph()))
    shape = graph.tensors[graph.ops[0].inputs[1]]
    assert shape.is_constant and shape.shape == (0,) and shape.data.dtype == "int32"


def test_a_model_is_read_once_by_several_steps():
    data = write_tflite(
        one_op("m", "RELU", [activation((1, 4), 0.5)], [activation((1, 4), 0.5)]).graph
    )
    first, again = read_tflite(data, name="a"), read_tflite(bytes(bytearray(data)), name="b")
    assert (first.name, again.name) == ("a", "b") and first.ops is again.ops
    for number in range(3):
        read_tflite(small_model(seed=number))
    assert read_tflite(data, name="a").ops is not first.ops  # only the last ones are kept
    damaged = data[:-1]
    for _ in range(2):
        with pytest.raises(ModelError):
            read_tflite(damaged[:40])
