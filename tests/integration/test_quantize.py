"""``--compress quantize`` from a Keras model to verified firmware, or to a file with a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgebuild.cli.main import run as cli
from edgebuild.compress.huffman import unpack
from edgebuild.compress.ptq.artifact import constants
from edgebuild.models.tf_model import of_keras

pytestmark = pytest.mark.keras


BUILD = ["build", "net.keras", "--target", "host", "--data", "data.npz", "--compress"]


def test_int8_builds_and_every_byte_is_equal(place, capsys):
    recipe = "prune:ratio=0.3,epochs=1,quantize:calibration=mse,rounding=adaround,huffman"
    assert cli([*BUILD, recipe, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)["reports"][0]
    prune, quantize, huffman = body["compression"]
    assert body["comparison"]["different_bytes"] == 0 and body["comparison"]["samples"] == 8
    assert quantize["cost"][1]["bytes"] < 0.4 * prune["cost"][1]["bytes"]
    assert quantize["options"]["calibration"] == "mse" and huffman["name"] == "huffman"
    assert body["accuracy"]["shipped"]["value"] > 0.85
    folder = place / "build" / "net-host"
    stored = constants((folder / "model.tflite").read_bytes())
    packed = unpack((folder / "weights.huff").read_bytes())
    assert all(np.array_equal(packed[name], stored[name]) for name in stored)


@pytest.mark.parametrize(
    ("recipe", "label", "operator"),
    [
        ("quantize:format=float16,samples=20", "float16", "float16 to float32"),
        ("quantize:mixed=0.01,samples=20,huffman", "mixed", "int8, int4, int32 to int8"),
    ],
)
def test_what_the_target_cannot_run_is_written_all_the_same(place, capsys, recipe, label, operator):
    assert cli([*BUILD, recipe]) == 1
    err = capsys.readouterr().err
    assert f"host runs int8 only, so it cannot run {label}" in err
    assert operator in err and "build/net-host/model.tflite" in err
    assert "quantize:format=int8" in err and "Traceback" not in err
    folder = place / "build" / "net-host"
    assert (folder / "model.tflite").read_bytes()[4:8] == b"TFL3"
    steps = json.loads((folder / "compression.json").read_text())["compression"]
    assert steps[0]["name"] == "quantize" and steps[0]["quality"][1]["value"] > 0.85
    assert (folder / "weights.huff").exists() == ("huffman" in recipe)
    assert not (folder / "report.json").exists()


def test_a_build_after_one_that_cannot_run(place, capsys):
    recipe = "quantize:format=int16x8,samples=20"
    assert cli([*BUILD, recipe]) == 1
    assert "#0 CONV_2D 're_lu" in (err := capsys.readouterr().err)
    assert "int16, int8, int64 to int16" in err
    assert cli([*BUILD, recipe, "--json"]) == 1  # no report: it is not cached
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 1
    assert cli([*BUILD, "quantize:samples=20", "--json"]) == 0
    assert not (place / "build" / "net-host" / "compression.json").exists()


def test_a_float_tflite_is_quantized(place, trained, capsys):
    (place / "net.tflite").write_bytes(of_keras(trained).to_tflite())
    build = ["build", "net.tflite", *BUILD[2:]]
    assert cli([*build, "quantize:rounding=adaround,samples=20,huffman", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)["reports"][0]
    step = body["compression"][0]
    assert body["comparison"]["different_bytes"] == 0
    assert step["cost"][0]["macs"] == body["model"]["macs"]
    assert step["quality"][0]["measure"] == "accuracy" and step["quality"][1]["value"] > 0.85
    assert cli([*build, "quantize:epochs=1"]) == 2
    assert "only a .keras or .h5 model can be trained" in capsys.readouterr().err
    assert cli([*build, "prune,quantize"]) == 2
    assert "support only --compress quantize" in capsys.readouterr().err
    int8 = place / "build" / "net-host" / "model.tflite"
    assert cli(["build", str(int8), *BUILD[2:], "quantize"]) == 2
    assert "already int8" in capsys.readouterr().err


def test_a_saved_model_is_quantized(place, trained, capsys):
    trained.export(place / "saved", verbose=False)
    build = ["build", "saved", *BUILD[2:], "quantize:calibration=mse,samples=20"]
    assert cli([*build, "--run", "none"]) == 0
    assert "quantize" in capsys.readouterr().out


def test_order_is_checked_before_anything_is_trained(place, capsys):
    assert cli([*BUILD, "quantize,prune"]) == 2
    err = capsys.readouterr().err
    assert "quantize must come after prune" in err and "only huffman may follow" in err
