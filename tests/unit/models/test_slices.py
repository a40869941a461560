"""Slices and class names, from every kind of data set."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from edgebuild.compress.splits import split_data
from edgebuild.errors import InputError
from edgebuild.graph import DType
from edgebuild.models import slices
from edgebuild.models.data import load_data
from edgebuild.models.source import InputSpec


def model(*names):
    inputs = tuple(InputSpec(name, (1, 4, 4, 1), DType.FLOAT32) for name in names)
    return SimpleNamespace(inputs=inputs, outputs=("out0",))


GREY = model("in0")
X = np.zeros((3, 4, 4), np.float32)
LIGHT = ["day", "night", "day"]


def load(path, **arrays):
    np.savez(path / "d.npz", **arrays)
    return load_data("d.npz", GREY, folder=path)


def listed(data):
    return {name: values.tolist() for name, values in data.slices.items()}


def test_an_npz(tmp_path):
    data = load(
        tmp_path,
        x=X,
        y=[0, 1, 1],
        slice_light=LIGHT,
        slice_board=np.array([[2], [10], [2]], np.uint8),
        slice_bytes=np.array(["Süd".encode(), b"", b"x"]),
        slice_new=[True, False, True],
        classes=["cat", "dog"],
    )
    assert listed(data) == {
        "light": LIGHT,
        "board": ["2", "10", "2"],
        "bytes": ["Süd", "", "x"],
        "new": ["True", "False", "True"],
    }
    assert data.classes == ("cat", "dog")
    assert data.y.tolist() == [0, 1, 1]


def test_without(tmp_path):
    data = load(tmp_path, x=X)
    assert data.slices == {} and data.classes == ()


def test_they_are_no_inputs(tmp_path):
    """What is left beside them is the only array; and a model may have an input of such a name."""
    assert load(tmp_path, pictures=X, slice_light=LIGHT, classes=["a"]).x[0].shape == X.shape
    np.savez(tmp_path / "d.npz", slice_x=X, y=[0, 1, 2])
    data = load_data("d.npz", model("slice_x"), folder=tmp_path)
    assert data.x[0].shape == X.shape and data.slices == {}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"slice_light": LIGHT[:2]}, r"d.npz: slice_light has shape \[2\], expected a value for"),
        ({"slice_light": np.zeros((3, 2), int)}, r"slice_light has shape \[3, 2\]"),
        ({"slice_light": "day"}, r"slice_light has shape \[\]"),
        ({"slice_light": [0.5, 1, 2]}, "slice_light has dtype float64, expected strings or int"),
        ({"slice_light": np.array([b"\xff"] * 3)}, "slice_light is not UTF-8"),
        ({"slice_light": np.array([None] * 3)}, "slice_light contains Python objects"),
        ({"slices_light": LIGHT}, "the array 'slices_light' names no slice"),
        ({"slice_": LIGHT}, "the array 'slice_' names no slice"),
        ({"classes": ["a", "b", "a"]}, "classes has 'a' twice"),
        ({"classes": [0.5]}, "classes has dtype float64, expected names"),
    ],
)
def test_refused(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, x=X, **arrays)


def test_too_many_values(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "MOST_VALUES", 2)
    with pytest.raises(InputError, match="has 3 different values, at most 2") as caught:
        load(tmp_path, x=X, slice_id=[1, 2, 3])
    assert "belong together" in caught.value.hint


@pytest.mark.parametrize(
    "code",
    [
        "{'x': x, 'y': y, 'slice_light': light, 'classes': ['cat', 'dog']}",
        "{'x': [x], 'y': y, 'slice_light': np.array(light), 'classes': ('cat', 'dog')}",
        "{'in0': x, 'y': y, 'slice_light': light, 'classes': np.array(['cat', 'dog'])}",
    ],
)
def test_a_python_entrys_dictionary(tmp_path, code):
    name = f"slices_{abs(hash((code, str(tmp_path))))}"
    (tmp_path / f"{name}.py").write_text(
        "import numpy as np\ndef load():\n    x = np.zeros((3, 4, 4))\n    y = [0, 1, 1]\n"
        f"    light = {LIGHT}\n    return {code}\n"
    )
    data = load_data(f"{name}:load", GREY, folder=tmp_path)
    assert listed(data) == {"light": LIGHT} and data.classes == ("cat", "dog")
    assert data.x[0].shape == (3, 4, 4) and data.y.tolist() == [0, 1, 1]


def test_a_dictionary_of_several_inputs(tmp_path):
    name = f"slices_two_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(
        "import numpy as np\n"
        "def load():\n    x = np.zeros((3, 4, 4))\n    return {'x': [x, x + 1], 'y': None}\n"
        "def wrong():\n    return {'images': np.zeros((3, 4, 4)), 'labels': [0, 1, 2]}\n"
    )
    data = load_data(f"{name}:load", model("a", "b"), folder=tmp_path)
    assert [x.max() for x in data.x] == [0, 1] and data.y is None
    with pytest.raises(InputError, match="contains the arrays 'images' and 'labels'; expected 'x'"):
        load_data(f"{name}:wrong", GREY, folder=tmp_path)


@pytest.fixture
def images(tmp_path):
    """Three images of two classes."""
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    return tmp_path


def test_a_folder_of_images(images):
    data = load_data(images, GREY)
    assert data.classes == ("cat", "dog") and data.slices == {}
    (images / "slices.csv").write_text(
        "\ufefffile, light ,season\ndog/1.png,day,\n\n"
        "cat/1.png,night, winter\ncat\\2.png,day,summer\n",
        encoding="utf-8",
    )
    assert listed(load_data(images, GREY)) == {
        "light": ["night", "day", "day"],
        "season": ["winter", "summer", ""],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected file and names of slices"),
        ("file\n", "expected file and names of slices"),
        ("name,light\n", "begins with 'name,light'"),
        ("file,light,light\n", "expected file and names"),
        ("file,light\ncat/1.png\n", "line 2: 1 values for 2 columns"),
        ("file,light\ncat/1.png,day\ncat/1.png,day\n", "line 3: 'cat/1.png' is there twice"),
        ("file,light\ncat/11.png,day\n", "no image 'cat/11.png'; did you mean 'cat/1.png'"),
        ("file,light\ncat/1.png,day\n", "2 of 3 images have no line, the first is 'cat/2.png'"),
        (b"file,light\ncat/1.png,\xff\n", "cannot be read"),
    ],
)
def test_a_csv_that_is_refused(images, text, message):
    (images / "slices.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        load_data(images, GREY)


def test_splits_keep_slices():
    x = np.arange(1000, dtype=np.float32)[:, np.newaxis]
    y = np.arange(1000) % 2
    rare = np.array(["rare" if i % 50 == 7 else "common" for i in range(1000)])
    splits = split_data([x], y, 0, {"kind": rare})
    for split in (splits.train, splits.validation, splits.test):
        assert np.array_equal(split.slices["kind"], rare[split.x[0][:, 0].astype(int)])
        assert 0.01 < np.mean(split.slices["kind"] == "rare") < 0.03  # 2 % of the whole
        assert abs(split.y.mean() - 0.5) < 0.02
    assert splits.test.first(3).slices["kind"].shape == (3,)
