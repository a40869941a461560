"""``--compress`` from a Keras model to verified firmware."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import edgebuild
from edgebuild.cli.main import run as cli
from edgebuild.errors import InputError
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.report.model import report_from_json
from edgebuild.search.evaluate import evaluate
from edgebuild.search.problem import Task
from edgebuild.search.request import open_problem
from edgebuild.tflite.reader import read_tflite
from tests.small import small_model
from tests.unit.compress.conftest import blobs

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
    assert (
        "labels y range from 5 to 7, but the model has 3 classes (0 to 2)"
        in capsys.readouterr().err
    )
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


@pytest.fixture(scope="module")
def unsized(tmp_path_factory):
    """A model of images of any size, in Keras and as a SavedModel, and images of 8 x 8."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    folder = tmp_path_factory.mktemp("unsized")
    inputs = keras.Input((None, None, 1), name="image")
    x = layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    x, y = blobs(200)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=4, verbose=0)
    model.save(folder / "net.keras")
    model.export(folder / "saved", verbose=False)
    np.savez(folder / "data.npz", x=x, y=y)
    return folder


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("net.keras", "prune:ratio=0.5,epochs=1"),
        ("net.keras", "prune:ratio=0.5,epochs=1,quantize:epochs=1"),
        ("net.keras", "quantize:calibration=percentile"),
        ("saved", "quantize:calibration=percentile"),
    ],
)
def test_the_shape_that_is_given_holds_for_compression_too(unsized, tmp_path, name, recipe):
    report = edgebuild.build(
        unsized / name,
        target="host",
        data=str(unsized / "data.npz"),
        compress=recipe,
        input_shapes={"image": (1, 8, 8, 1)},
        out=tmp_path,
        accuracy_gate=False,
    )
    assert report.comparison.equal
    shipped = read_tflite((tmp_path / f"{report.name}-host" / "model.tflite").read_bytes())
    assert [t.shape for t in shipped.input_tensors] == [(1, 8, 8, 1)]
    assert report.compression[-1].cost[1].macs > 0


def test_the_shape_that_is_given_holds_for_a_search_too(unsized, tmp_path):
    request = BuildRequest(
        unsized / "net.keras", "cortex-m4", data=str(unsized / "data.npz"), out=tmp_path
    )
    with pytest.raises(InputError, match="open"):
        open_problem(make_plan(request))
    given = dataclasses.replace(request, input_shapes={"image": (1, 8, 8, 1)})
    problem = open_problem(make_plan(given))
    assert problem.shapes == ((1, 8, 8, 1),)
    assert problem.key != dataclasses.replace(problem, shapes=((1, 9, 9, 1),)).key
    found = evaluate(problem, Task(({"pass": "quantize", "samples": 20},)))
    assert found.macs == 36 * 9 * 8 + 16 * 72 * 8 + 24 and found.cycles > 0
