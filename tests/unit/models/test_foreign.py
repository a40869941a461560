"""Files of other tools: one error that names the way on."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile

import numpy as np
import pytest

from edgebuild.cli.main import run
from edgebuild.errors import ModelError
from edgebuild.models.source import open_model


@pytest.mark.parametrize(
    ("name", "content", "what", "step"),
    [
        (
            "m.onnx",
            b"\x08\x08\x12\x07pytorch",
            "ONNX models are not supported",
            "onnx2tf -i m.onnx",
        ),
        ("m.pth", b"\x80\x02\x8a", "PyTorch files are not supported", "litert_torch.convert"),
        ("m.pb", b"\x0a\x0f", "frozen TensorFlow graphs", "from_frozen_graph"),
        ("m.mlmodel", b"\x08\x04", "Core ML models", "the model that it was made from"),
        ("m.safetensors", b"\x40\0\0\0\0\0\0\0{", "weights, but no model", "load the weights"),
        ("m.ckpt", b"\0\0\0", "TensorFlow checkpoints", "model.load_weights"),
        ("m.json", b"{}", "TensorFlow.js models", "tensorflowjs_converter"),
        ("model", b"\x80\x04\x95", "Python pickles", "save the model"),
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
    with pytest.raises(ModelError, match="PyTorch files are not supported"):
        open_model(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["model.tflite", "model.keras", "model"])
@pytest.mark.parametrize(
    ("content", "what", "step"),
    [
        (gzip.compress(b"model"), "compressed with gzip", "gzip -dc "),
        (bz2.compress(b"model"), "compressed with bzip2", "bzip2 -dc "),
        (lzma.compress(b"model"), "compressed with xz", "xz -dc "),
        (b"\0" * 257 + b"ustar\x0000" + b"\0" * 300, "a tar archive", "tar xf "),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive", "7z x "),
        (b"\x80\x04\x95\0\0\0\0\0", "Python pickles", "save the model"),
    ],
)
def test_what_is_packed_is_named_whatever_it_is_called(tmp_path, name, content, what, step):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=what) as caught:
        open_model(tmp_path / name)
    assert step in str(caught.value) and "TFL3" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "what", "step"),
    [
        ("archive/data.pkl", "PyTorch files are not supported", "litert_torch.convert"),
        ("x.npy", "contains NumPy arrays, not a model", "--data"),
        ("best/model.tflite", "a zip archive with best/model.tflite in it", "unzip model.tflite"),
        ("readme.txt", "a zip archive without config.json", "pass a .keras"),
    ],
)
def test_an_archive_called_tflite(tmp_path, entry, what, step):
    with zipfile.ZipFile(tmp_path / "model.tflite", "w") as archive:
        archive.writestr(entry, b"content")
    with pytest.raises(ModelError, match=what) as caught:
        open_model(tmp_path / "model.tflite")
    assert step in str(caught.value)


def test_inspect_names_an_archive_too(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "model.tflite", "w") as archive:
        archive.writestr("archive/data.pkl", b"content")
    assert run(["inspect", str(tmp_path / "model.tflite")]) == 2
    assert "PyTorch files are not supported" in capsys.readouterr().err


def test_one_file_of_a_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelError, match="is one file of a SavedModel") as caught:
        open_model(tmp_path / "saved_model.pb")
    assert caught.value.hint == f"pass {tmp_path}"


@pytest.mark.parametrize(
    ("name", "what"), [("checkpoint", "TensorFlow checkpoints"), ("model.json", "TensorFlow.js")]
)
def test_folders(tmp_path, name, what):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=what):
        open_model(tmp_path)


def test_the_content_decides_before_the_name(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="the file is empty"):
        open_model(tmp_path / "m.onnx")


def test_arrays_are_data(tmp_path):
    """What is passed as the model is the data set."""
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    np.save(tmp_path / "data.npy", np.zeros(3))
    for name in ("data.npz", "data.npy"):
        with pytest.raises(ModelError, match="contains NumPy arrays, not a model") as caught:
            open_model(tmp_path / name)
        assert caught.value.hint == f"edgebuild build MODEL --data {tmp_path / name} ..."
