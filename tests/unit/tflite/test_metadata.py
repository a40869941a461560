"""Metadata is added without touching the model, read back, and refused when it is damaged."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from edgebuild.errors import InputError, ModelError
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.tflite import schema
from edgebuild.tflite.metadata import (
    ModelMetadata,
    TensorMetadata,
    describe,
    read_metadata,
    write_metadata,
)
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite

LABELS = ("cat", "dög", "ship")


def small_graph():
    weights = np.arange(12).reshape(3, 4)
    return one_op(
        "fc",
        "FULLY_CONNECTED",
        [activation((1, 4), 0.5, -3), constant(weights, [0.1, 0.2, 0.3]), None],
        [activation((1, 3), 0.25, 7)],
        {"fused_activation_function": "RELU6", "keep_num_dims": True},
    ).graph


MODEL = write_tflite(small_graph())


def small_metadata():
    metadata = describe(small_graph(), name="fc", description="a test", version="3", author="me")
    return replace(
        metadata,
        license="Apache-2.0",
        inputs=(replace(metadata.inputs[0], mean=(127.5,), std=(63.75,)),),
        outputs=(replace(metadata.outputs[0], labels=LABELS),),
    )


def test_what_is_written_is_read():
    metadata = small_metadata()
    assert read_metadata(write_metadata(MODEL, metadata)) == metadata


def test_description_of_a_graph_has_ranges():
    (tensor,) = describe(small_graph(), name="fc").inputs
    assert (tensor.minimum, tensor.maximum) == ((0.5 * (-128 + 3),), (0.5 * (127 + 3),))
    assert tensor.description == "int8 1 x 4, real value = 0.5 * (q - -3)"


def test_no_metadata_is_none():
    assert read_metadata(MODEL) is None


def test_writing_is_deterministic():
    assert write_metadata(MODEL, small_metadata()) == write_metadata(MODEL, small_metadata())


def test_the_old_file_stays_byte_for_byte_and_aligned():
    plain = replace(small_metadata(), outputs=(TensorMetadata("y"),))
    written = write_metadata(MODEL, plain)
    assert written.endswith(MODEL)
    assert (len(written) - len(MODEL)) % 64 == 0


def test_the_model_reads_and_unpacks_the_same():
    written = write_metadata(MODEL, small_metadata())
    assert read_tflite(written).fingerprint() == read_tflite(MODEL).fingerprint()
    before, after = (
        schema.module().ModelT.InitFromObj(schema.module().Model.GetRootAs(data, 0))
        for data in (MODEL, written)
    )
    assert len(after.buffers) == len(before.buffers) + 1
    after.buffers.pop()
    (entry,) = after.metadata
    assert entry.name == b"TFLITE_METADATA"
    after.metadata = before.metadata
    assert _plain(after) == _plain(before)


def test_interpreter_gives_the_same_outputs():
    from ai_edge_litert.interpreter import Interpreter

    outputs = []
    for data in (MODEL, write_metadata(MODEL, small_metadata())):
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], np.array([[-3, -2, -3, -3]], np.int8)
        )
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert len(np.unique(outputs[0])) > 1
    assert np.array_equal(*outputs)


def test_writing_again_replaces_metadata_and_labels():
    first = write_metadata(MODEL, small_metadata())
    other = replace(
        small_metadata(),
        name="other",
        outputs=(replace(small_metadata().outputs[0], labels=("a", "b", "c")),),
    )
    second = write_metadata(first, other)
    assert read_metadata(second) == other
    assert read_tflite(second).fingerprint() == read_tflite(MODEL).fingerprint()
    with zipfile.ZipFile(io.BytesIO(second)) as archive:
        assert archive.namelist() == ["labels.txt"]


def test_labels_are_stored_uncompressed_at_absolute_offsets():
    written = write_metadata(MODEL, small_metadata())
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        (info,) = archive.infolist()
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert archive.read("labels.txt").decode() == "cat\ndög\nship\n"
    assert written[info.header_offset :][:4] == b"PK\3\4"


def test_weights_that_look_like_an_archive():
    metadata = replace(small_metadata(), outputs=(TensorMetadata("y"),))
    odd = MODEL + b"PK\5\6" + bytes(range(1, 19)) + b"PK\5\6"
    assert read_metadata(write_metadata(odd, metadata)) == metadata


def test_a_damaged_archive_is_refused():
    written = bytearray(write_metadata(MODEL, small_metadata()))
    written[-6] ^= 1  # where the archive's directory starts
    with pytest.raises(ModelError, match="packed behind it are damaged"):
        read_metadata(bytes(written))


def test_several_outputs_have_their_own_label_files():
    outputs = (TensorMetadata("a", labels=("x", "y")), TensorMetadata("b", labels=("z",)))
    graph = small_graph()
    twice = write_tflite(replace(graph, outputs=graph.outputs * 2))
    metadata = replace(small_metadata(), outputs=outputs)
    assert read_metadata(write_metadata(twice, metadata)).outputs == outputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ()}, "has 1 inputs, the metadata describes 0"),
        ({"outputs": (TensorMetadata("y", labels=("a\nb",)),)}, "cannot be a line"),
        ({"outputs": (TensorMetadata("y", labels=("",)),)}, "cannot be a line"),
        ({"inputs": (TensorMetadata("x", mean=(1.0,)),)}, "1 means but 0 deviations"),
        ({"inputs": (TensorMetadata("x", minimum=(float("nan"),)),)}, "not finite"),
    ],
)
def test_metadata_that_does_not_fit(change, message):
    with pytest.raises(InputError, match=message):
        write_metadata(MODEL, replace(small_metadata(), **change))


def test_weights_behind_the_flatbuffer_are_refused():
    s = schema.module()
    import flatbuffers

    model = s.ModelT.InitFromObj(s.Model.GetRootAs(MODEL, 0))
    model.buffers[1].offset, model.buffers[1].size, model.buffers[1].data = 4096, 12, None
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ModelError, match="behind the flatbuffer"):
        write_metadata(bytes(builder.Output()), small_metadata())


def test_damaged_files_are_model_errors():
    written = write_metadata(MODEL, small_metadata())
    rng = random.Random(1)
    damaged = [written[:n] for n in range(0, len(written), 7)]
    for _ in range(600):
        data = bytearray(written)
        for _ in range(rng.randint(1, 4)):
            struct.pack_into("<I", data, rng.randrange(len(data) - 4), rng.getrandbits(32))
        damaged.append(bytes(data))
    refused = 0
    for data in damaged:
        try:
            read_metadata(data)
            write_metadata(data, small_metadata())
        except (ModelError, InputError):
            refused += 1
    assert refused > 100


def test_text_is_cleaned():
    metadata = ModelMetadata(
        "a\0b\x1b[31m\udcff", inputs=(TensorMetadata("x"),), outputs=(TensorMetadata("y"),)
    )
    assert read_metadata(write_metadata(MODEL, metadata)).name == "ab[31m?"


@pytest.mark.parametrize("name", ["ad01_float", "kws_int8", "resnet8_int8", "vww96_int8"])
def test_real_models_keep_their_bytes(mlperf_dir, name):
    data = (mlperf_dir / f"{name}.tflite").read_bytes()
    metadata = describe(read_tflite(data), name=name)
    written = write_metadata(data, metadata)
    assert written.endswith(data)
    assert read_metadata(written) == metadata
    assert read_tflite(written).fingerprint() == read_tflite(data).fingerprint()


DISPLAY = """
import json, sys
from tflite_support import metadata
shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
files = shown.get_packed_associated_file_list()
print(json.dumps({"json": json.loads(shown.get_metadata_json()), "files": files,
                  "labels": shown.get_associated_file_buffer("labels.txt").decode()}))
"""


@pytest.mark.skipif(
    "EDGEBUILD_TFLITE_SUPPORT_PYTHON" not in os.environ,
    reason="EDGEBUILD_TFLITE_SUPPORT_PYTHON names a Python that has the package tflite-support",
)
def test_tflite_support_reads_it(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(write_metadata(MODEL, small_metadata()))
    python = os.environ["EDGEBUILD_TFLITE_SUPPORT_PYTHON"]
    done = subprocess.run(
        [python, "-c", DISPLAY, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    shown = json.loads(done.stdout)
    subgraph = shown["json"]["subgraph_metadata"][0]
    (x,), (y,) = subgraph["input_tensor_metadata"], subgraph["output_tensor_metadata"]
    assert (shown["json"]["name"], shown["json"]["version"]) == ("fc", "3")
    assert x["process_units"][0]["options"] == {"mean": [127.5], "std": [63.75]}
    assert x["stats"] == {"max": [65.0], "min": [-62.5]}
    assert y["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"
    assert shown["files"] == ["labels.txt"]
    assert shown["labels"] == "cat\ndög\nship\n"


def _plain(value):
    """Return a table tree as values that compare."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "__dict__"):
        return {k: _plain(v) for k, v in vars(value).items()}
    return value
