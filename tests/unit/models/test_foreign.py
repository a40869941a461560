"""Files of other tools: one error that names the way on."""

from __future__ import annotations

import zipfile

import pytest

from edgebuild.errors import ModelError
from edgebuild.models.source import open_model


@pytest.mark.parametrize(
    ("name", "content", "what", "step"),
    [
        ("m.onnx", b"\x08\x08\x12\x07pytorch", "an ONNX model", "onnx2tf -i model.onnx"),
        ("m.pth", b"\x80\x02\x8a", "a PyTorch file", "litert_torch.convert"),
        ("m.pb", b"\x0a\x0f", "a frozen TensorFlow graph", "from_frozen_graph"),
        ("m.mlmodel", b"\x08\x04", "a Core ML model", "the model that it was made from"),
        ("m.safetensors", b"\x40\0\0\0\0\0\0\0{", "weights without a network", "load the weights"),
        ("m.ckpt", b"\0\0\0", "a TensorFlow checkpoint", "model.load_weights"),
        ("m.json", b"{}", "a TensorFlow.js model", "tensorflowjs_converter"),
        ("model", b"\x80\x04\x95", "a Python pickle", "save the network"),
    ],
)
def test_files(tmp_path, name, content, what, step):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=what) as caught:
        open_model(tmp_path / name)
    assert step in str(caught.value) and "damaged" not in str(caught.value)
    assert caught.value.hint


def test_an_archive_of_pytorch(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02")
        archive.writestr("archive/version", "3")
    with pytest.raises(ModelError, match="a PyTorch file"):
        open_model(tmp_path / "model.pt")


def test_one_file_of_a_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelError, match="is one file of a SavedModel") as caught:
        open_model(tmp_path / "saved_model.pb")
    assert caught.value.hint == f"give {tmp_path}"


@pytest.mark.parametrize(
    ("name", "what"), [("checkpoint", "a TensorFlow checkpoint"), ("model.json", "TensorFlow.js")]
)
def test_folders(tmp_path, name, what):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=what):
        open_model(tmp_path)


def test_the_content_decides_before_the_name(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="the file is empty"):
        open_model(tmp_path / "m.onnx")
