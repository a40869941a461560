"""``--compress`` from a Keras model to verified firmware."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgebuild.cli.main import run as cli
from edgebuild.report.model import report_from_json
from tests.small import small_model

pytestmark = pytest.mark.keras


BUILD = ["build", "net.keras", "--target", "host", "--data", "data.npz"]


def test_a_pruned_build(place, capsys):
    arguments = [*BUILD, "--compress", "prune:ratio=0.5,epochs=6", "--json"]
    assert cli(arguments) == 0
    body = json.loads(capsys.readouterr().out)["reports"][0]
    (step,) = body["compression"]
    assert step["name"] == "prune" and step["options"]["ratio"] == 0.5
    assert step["cost"][1]["macs"] < 0.5 * step["cost"][0]["macs"]
    assert body["model"]["macs"] == pytest.approx(step["cost"][1]["macs"], rel=0.01)
    assert 80 <= body["accuracy"]["samples"] <= 100  # the test split, which no pass has seen
    assert body["accuracy"]["shipped"]["value"] > 0.85
    parts = {row["name"]: row["samples"] for row in body["accuracy"]["slices"]}
    assert sum(parts.values()) == body["accuracy"]["samples"] and 14 <= parts["fifth"] <= 22
    assert body["comparison"]["different_bytes"] == 0
    assert report_from_json(body).compression[0].notes == tuple(step["notes"])

    assert cli(arguments[:-1]) == 0
    out = capsys.readouterr().out
    assert "cached" in out and "prune" in out and "MACs" in out


def test_the_same_seed_makes_the_same_bytes(place, capsys):
    arguments = [*BUILD, "--run", "none", "--compress", "prune:epochs=1"]
    assert cli([*arguments, "--out", "one"]) == 0
    assert list((place / "cache" / "training").iterdir()) == []
    assert cli([*arguments, "--out", "two"]) == 0
    first, second = (place / n / "net-host" / "model.tflite" for n in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_without_labels_and_with_a_set_up(place, capsys):
    (place / "how.py").write_text(
        "def setup():\n    return {'learning_rate': 2e-3, 'batch_size': 64}\n"
        "def wrong():\n    return {'rate': 1}\n"
    )
    arguments = ["build", "net.keras", "--target", "host", "--data", "blind.npz", "--run", "none"]
    arguments += ["--compress", "prune:ratio=0.3,epochs=2"]
    assert cli([*arguments, "--training", "how:setup"]) == 0
    assert "agreement with the original" in capsys.readouterr().out
    assert cli([*arguments, "--training", "how:wrong"]) == 2
    assert "learning_rate" in capsys.readouterr().err
    assert cli([*arguments, "--training", "how:absent"]) == 2
    assert "no such function" in capsys.readouterr().err


def test_what_cannot_be_compressed(place, capsys):
    (place / "small.tflite").write_bytes(small_model())
    assert cli(["build", "small.tflite", "--target", "host", "--compress", "prune"]) == 2
    assert "only a .keras or .h5 model can be compressed" in capsys.readouterr().err
    assert cli(["build", "net.keras", "--target", "host", "--compress", "prune"]) == 2
    assert "compression needs data" in capsys.readouterr().err
    assert cli([*BUILD, "--compress", "prun"]) == 2
    assert "did you mean 'prune'" in capsys.readouterr().err
    with np.load("data.npz") as data:
        np.savez("shifted.npz", x=data["x"], y=data["y"] + 5)
    shifted = ["shifted.npz" if word == "data.npz" else word for word in BUILD]
    assert cli([*shifted, "--compress", "prune"]) == 2
    assert "labels y go from 5 to 7, the model has 3 classes (0 to 2)" in capsys.readouterr().err
    assert cli([*BUILD, "--compress", "prune:epochs=0,distill:learning_rate=1e30"]) == 2
    captured = capsys.readouterr().err
    assert "distill (2 of 2): training diverged: " in captured and "a smaller learning" in captured
    assert not (place / "build" / "net-host").exists()


def test_packed_weights_are_beside_the_build(place, capsys):
    from edgebuild.compress.huffman import unpack

    recipe = "sparsify:sparsity=0.8,epochs=2,cluster:bits=3,epochs=1,huffman"
    assert cli([*BUILD, "--run", "none", "--compress", recipe, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)["reports"][0]
    content = (place / "build" / "net-host" / "weights.huff").read_bytes()
    assert f"stored in {len(content):,} B" in body["compression"][2]["notes"][0]
    kernel = unpack(content)["fc/kernel"]
    assert 1 < len(np.unique(kernel)) <= 9 and np.mean(kernel == 0) > 0.5
