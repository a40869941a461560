import dataclasses
import io
import os
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from edgebuild.errors import InputError
from edgebuild.graph import DType, Quantization, Tensor
from edgebuild.models import data as data_module
from edgebuild.models import data_files, data_folders
from edgebuild.models.data import (
    check_class_names,
    dequantize,
    load_data,
    match_inputs,
    quantize_input,
)
from edgebuild.models.source import InputSpec
from tests.small import small_graph


def model(*shapes, dtype=DType.FLOAT32):
    inputs = tuple(InputSpec(f"in{i}", shape, dtype) for i, shape in enumerate(shapes))
    return SimpleNamespace(inputs=inputs, outputs=("out0",))


GREY = model((1, 4, 4, 1))
X = np.arange(48, dtype=np.float32).reshape(3, 4, 4)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("x", "y"), True),
        (("x_test", "y_test"), True),
        (("in0", "y"), True),
        (("x0",), False),
        (("anything",), False),
        (("arr_0", "y"), True),
    ],
)
def test_names_in_an_npz(tmp_path, names, label):
    arrays = dict(zip(names, (X, np.arange(3)), strict=False))
    data = load_data("d.npz", GREY, folder=save(tmp_path / "d.npz", **arrays).parent)
    assert np.array_equal(data.x[0], X)
    assert (data.y is not None) == label
    assert len(data) == 3


def test_the_test_half_of_a_keras_set(tmp_path):
    file = save(tmp_path / "d.npz", x_train=X[:1], y_train=[9], x_test=X, y_test=[1, 2, 3])
    data = load_data(str(file), GREY)
    assert data.y.tolist() == [1, 2, 3]


DETECTOR = SimpleNamespace(inputs=GREY.inputs, outputs=("box", "kind"))


def test_labels_of_each_output(tmp_path):
    box, kind = np.ones((3, 4)), np.arange(3)
    for names in (("box", "kind"), ("y0", "y1"), ("y", "kind"), ("y", "y1")):
        file = save(tmp_path / "d.npz", x=X, **dict(zip(names, (box, kind), strict=True)))
        data = load_data(str(file), DETECTOR)
        assert data.y.shape == (3, 4) and data.labels_of(1).tolist() == [0, 1, 2]
        assert data.has_labels and data.label_name(1) == "y1"
    data = load_data(str(save(tmp_path / "d.npz", x=X, kind=kind)), DETECTOR)
    assert data.y is None and data.labels_of(1) is not None and data.has_labels
    bad(tmp_path, "'y' and 'box' are both labels of output 0",
        spec=save(tmp_path / "d.npz", x=X, y=box, box=box).name, to=DETECTOR)  # fmt: skip
    bad(tmp_path, "y1 has 2 labels for 3 samples in x",
        spec=save(tmp_path / "d.npz", x=X, y=kind, y1=kind[:2]).name, to=DETECTOR)  # fmt: skip


def test_an_array_that_nothing_uses_is_an_error(tmp_path):
    save(tmp_path / "d.npz", x=X, y=np.arange(3), boxes=np.ones((3, 4)))
    message = r"unknown array 'boxes'; did you mean 'box'\?"
    bad(tmp_path, message, spec="d.npz", to=DETECTOR)
    save(tmp_path / "d.npz", x=X, y=np.arange(3), y1=np.arange(3))
    bad(tmp_path, "unknown array 'y1'", spec="d.npz")
    save(tmp_path / "d.npz", x=X, y=np.arange(3), y_val=np.arange(2), x_val=X[:2])
    assert load_data("d.npz", GREY, folder=tmp_path).y is not None  # another split's


@pytest.mark.parametrize(
    "result", ["(x, [b, k])", "(x, {'box': b, 'kind': k})", "{'x': x, 'box': b, 'kind': k}"]
)
def test_a_python_entry_gives_labels_of_each_output(tmp_path, result):
    name = f"several{abs(hash(result))}"
    (tmp_path / f"{name}.py").write_text(
        f"import numpy as np\ndef load():\n    x = np.zeros((2, 4, 4))\n"
        f"    b, k = np.ones((2, 4)), np.arange(2)\n    return {result}\n"
    )
    data = load_data(f"{name}:load", DETECTOR, folder=tmp_path)
    assert data.y.shape == (2, 4) and data.labels_of(1).tolist() == [0, 1]


def test_several_inputs(tmp_path):
    two = model((1, 2), (1, 3))
    a, b = np.ones((5, 2), np.float32), np.zeros((5, 3), np.float32)
    for names in (("in0", "in1"), ("x0", "x1")):
        file = save(tmp_path / "d.npz", **dict(zip(names, (a, b), strict=True)))
        data = load_data(file, two)
        assert [x.shape for x in match_inputs(data, two.inputs)] == [(5, 1, 2), (5, 1, 3)]
    file = save(tmp_path / "d.npz", x=a)
    with pytest.raises(InputError, match=r"expected 'in0', 'in1' \(or x0, x1, ...\)"):
        load_data(file, two)


def test_npy_in_both_orders(tmp_path):
    for array in (X, np.asfortranarray(X)):
        np.save(tmp_path / "x.npy", array)
        assert np.array_equal(load_data(tmp_path / "x.npy", GREY).x[0], X)


def test_a_missing_channel_is_added(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.float64))
    (x,) = match_inputs(load_data(tmp_path / "x.npy", GREY), GREY.inputs)
    assert x.shape == (3, 1, 4, 4, 1)
    assert x.dtype == np.float32


def bad(tmp_path, message, spec="x.npy", hint="", to=GREY):
    with pytest.raises(InputError, match=message) as caught:
        data = load_data(spec, to, folder=tmp_path)
        match_inputs(data, to.inputs)
    assert hint in caught.value.hint


def nan():
    array = X.copy()
    array[1, 2, 3] = np.nan
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 5, 4)), r"expects samples of shape \[4, 4, 1\], got \[5, 4\].*float64"),
        (np.zeros((4, 4, 1)), r"expects samples of shape \[4, 4, 1\], got \[4, 1\]"),
        (np.zeros((0, 4, 4)), r"is empty, its shape is \[0, 4, 4\]"),
        (np.float32(1), "is a single value, not samples"),
        (np.array(["a"]), "has dtype <U1, expected numbers"),
        (np.zeros(3, complex), "has dtype complex128"),
        (np.array([None]), "contains Python objects"),
        (nan(), r"1 NaN or infinite value, the first in sample 1 at \[2, 3\]"),
        (np.full((1, 4, 4), 1e300), "'in0' as float32 contains 16 NaN or infinite values"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    bad(tmp_path, message)


def test_one_sample_without_its_dimension_gets_a_hint(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 4, 1)))
    bad(tmp_path, "expects samples", hint="x[np.newaxis]")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(2), "y has 2 labels for 3 samples"),
        (np.float32(1), "y has a single label"),
        (np.array(["a", "b", "c"]), "y has dtype <U1"),
        (np.array([0, np.inf, 1]), "y contains 1 NaN or infinite value,"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, y, message):
    save(tmp_path / "d.npz", x=X, y=y)
    bad(tmp_path, message, "d.npz")


def test_inputs_of_different_lengths(tmp_path):
    file = save(tmp_path / "d.npz", x0=np.zeros((3, 2)), x1=np.zeros((4, 3)))
    with pytest.raises(InputError, match="array 1 has 4 samples, array 0 has 3"):
        load_data(file, model((1, 2), (1, 3)))


def test_too_few_arrays_for_the_model(tmp_path):
    np.save(tmp_path / "x.npy", X)
    two = model((1, 4, 4), (1, 3))
    with pytest.raises(InputError, match="has 1 arrays, but the model has 2 inputs") as caught:
        match_inputs(load_data(tmp_path / "x.npy", two), two.inputs)
    assert caught.value.details[1] == "input 1 'in1': [3]"


def npz_bytes(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither .npz nor .npy"),
        (b"hello, world", "neither .npz nor .npy"),
        (b"PK\x03\x04 and nothing", "damaged"),
        (npz_bytes(x=X)[:-60], "damaged"),
        (npz_bytes(a=X, b=X), "contains the arrays 'a' and 'b'; expected 'x'"),
        (b"\x93NUMPY\x01\x00\x04\x00{oh}", "damaged"),
        (b"\x93NUMPY\x09\x00\x04\x00{oh}", "damaged|version"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    (tmp_path / "x.npy").write_bytes(content)
    bad(tmp_path, message)


def header(shape, dtype="<f4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def test_a_header_that_promises_more_than_there_is(tmp_path):
    (tmp_path / "x.npy").write_bytes(header((10**12, 4)) + bytes(64))
    bad(tmp_path, "does not fit in")
    (tmp_path / "x.npy").write_bytes(header((20,)) + bytes(64))
    bad(tmp_path, "damaged: it has only 64 B")


def test_a_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "DATA_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header((1 << 20,)) + bytes(1 << 22))
    bad(tmp_path, "would unpack to 4,194,", "d.npz")


def test_a_zip_bomb_below_the_limit(tmp_path):
    """64 KB that unpack to a thousand times as much."""
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header((17 << 20,)) + bytes(17 << 22))
    bad(tmp_path, "more than 200 times as much", "d.npz")


def test_a_pipe_is_no_data_set(tmp_path):
    os.mkfifo(tmp_path / "x.npy")
    bad(tmp_path, "not a regular file")


@pytest.mark.parametrize("name", ["loop.npz", "loop"])
def test_a_link_to_itself_is_no_data_set(tmp_path, name):
    (tmp_path / name).symlink_to(name)
    bad(tmp_path, f"{name}: too many levels of symbolic links\ntry", name)


@pytest.mark.parametrize("name", ["cat/b.png", "b.png", "b.wav"])
def test_a_pipe_among_the_files_of_a_folder_is_told(tmp_path, name):
    pipe = tmp_path / "d" / name
    pipe.parent.mkdir(parents=True)
    if name.endswith(".png"):
        Image.new("L", (8, 8)).save(pipe.with_name("a.png"))
    os.mkfifo(pipe)
    bad(tmp_path, f"{name}: not a regular file", "d")


def test_names_for_more_classes_than_the_model_has(tmp_path):
    graph = small_graph()
    names = np.array([f"class {i}" for i in range(40_000)])
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 8, 8, 1), np.float32), classes=names)
    data = load_data("d.npz", model((1, 8, 8, 1)), folder=tmp_path)
    with pytest.raises(InputError, match="has 40,000 class names, but the model has 10"):
        check_class_names(data, graph)
    check_class_names(dataclasses.replace(data, classes=data.classes[:10]), graph)


def test_too_many_class_names(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, classes=np.zeros(100_001, np.int8))
    bad(tmp_path, "has 100,001 names, at most 100,000", "d.npz")


def test_random_samples_of_a_huge_input_are_not_made(tmp_path):
    with pytest.raises(InputError, match="random samples for this model take 102,400,000,000 B"):
        load_data("random", model((1, 8000, 8000, 1)), folder=tmp_path)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 22])
def test_quantizing_in_pieces_changes_nothing(monkeypatch, chunk):
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    tensor = Tensor(0, "x", (1, 3), DType.INT8, Quantization((0.03,), (5,)))
    whole = quantize_input(x, tensor)
    monkeypatch.setattr(data_module, "_CHUNK_ELEMENTS", chunk)
    assert np.array_equal(quantize_input(x, tensor), whole)


def test_a_bit_flip_in_compressed_data(tmp_path):
    content = bytearray(npz_bytes(x=X))
    content[len(content) // 3] ^= 0xFF
    (tmp_path / "d.npz").write_bytes(content)
    bad(tmp_path, "damaged", "d.npz")


def image(path, value, size=(8, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_a_folder_of_images(tmp_path):
    image(tmp_path / "d/cat/2.png", 10)
    image(tmp_path / "d/cat/1.png", (200, 0, 0), mode="RGB")
    image(tmp_path / "d/ant/a.png", 30, size=(4, 4))
    (tmp_path / "d/cat/notes.txt").write_text("no image")
    data = load_data("d", GREY, folder=tmp_path)
    assert data.y.tolist() == [0, 1, 1]
    assert data.x[0].shape == (3, 4, 4, 1)
    assert data.x[0].dtype == np.uint8
    assert data.x[0][:, 0, 0, 0].tolist() == [30, 60, 10]
    scaled = load_data("d?scale=-1..1", GREY, folder=tmp_path).x[0][0, 0, 0, 0]
    assert scaled == pytest.approx(30 / 255 * 2 - 1)
    colour = load_data("d", model((1, 4, 4, 3)), folder=tmp_path)
    assert colour.x[0].shape == (3, 4, 4, 3)


def test_images_without_classes(tmp_path):
    image(tmp_path / "d/1.png", 10)
    assert load_data("d", model((1, 4, 4)), folder=tmp_path).y is None


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "d").mkdir()
    bad(tmp_path, "has no images", "d")
    with pytest.raises(InputError, match="is for a model with one image input"):
        load_data("d", model((1, 640)), folder=tmp_path)
    (tmp_path / "d/a.png").write_bytes(b"\x89PNG no")
    bad(tmp_path, "a.png: not a readable image", "d")
    Image.new("I;16", (4, 4)).save(tmp_path / "d/a.png")
    bad(tmp_path, "more than 8 bits", "d")


def test_an_image_with_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(data_folders, "IMAGE_PIXELS", 10)
    image(tmp_path / "d/1.png", 10)
    bad(tmp_path, "8x8 pixels are too many", "d")


def test_scale_is_for_8_bits(tmp_path):
    np.save(tmp_path / "x.npy", X)
    bad(tmp_path, "is for 8-bit images, this is float32", "x.npy?scale=0..1")
    bad(tmp_path, "data option 'scale=0..2' is not known", "x.npy?scale=0..2")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return x, [0, 1]", None),
        ("return x", None),
        ("return [x]", None),
        ("raise ValueError('no disk')", "failed: ValueError: no disk"),
        ("import not_there_at_all", "no module named 'not_there_at_all'"),
        ("return None", "returned NoneType, expected"),
        ("return [[1], [1, 2]]", "returned list, expected"),
    ],
)
def test_a_python_entry(tmp_path, code, message):
    name = f"entry_{abs(hash((code, str(tmp_path))))}"
    (tmp_path / f"{name}.py").write_text(
        f"import numpy as np\ndef load():\n    x = np.zeros((2, 4, 4))\n    {code}\n"
    )
    if message is None:
        data = load_data(f"{name}:load", GREY, folder=tmp_path)
        assert data.x[0].shape == (2, 4, 4)
        assert (data.y is not None) == ("[0, 1]" in code)
    else:
        bad(tmp_path, message, f"{name}:load")


def test_entries_that_are_not_there(tmp_path):
    bad(tmp_path, "module 'json' has no such function", "json:nothing")
    bad(tmp_path, "no module named 'no_such_module_x'", "no_such_module_x:f")
    bad(tmp_path, "no such file or folder", "nowhere.npz", hint="a data set is a .npz or .npy file")


def test_random_is_seeded():
    both = model((1, 4, 4, 1), (1, 3), dtype=DType.FLOAT32)
    one, same = load_data("random", both, seed=1), load_data("random", both, seed=1)
    assert one.is_random
    assert one.x[0].shape == (200, 4, 4, 1)
    assert np.array_equal(one.x[1], same.x[1])
    assert not np.array_equal(one.x[0], load_data("random", both, seed=2).x[0])
    uniform = load_data("random?scale=0..1", GREY).x[0]
    assert 0 <= uniform.min() < 0.1 < 0.9 < uniform.max() <= 1
    assert load_data("random", model((1, 2), dtype=DType.INT8)).x[0].dtype == np.int8
    assert set(load_data("random", model((1, 2), dtype=DType.INT32)).x[0].ravel()) == {0, 1}


def test_integer_inputs_take_whole_numbers(tmp_path):
    indices = model((1, 2), dtype=DType.INT32)
    np.save(tmp_path / "x.npy", np.array([[1.0, 2.0]]))
    (x,) = match_inputs(load_data("x.npy", indices, folder=tmp_path), indices.inputs)
    assert x.dtype == np.int32
    np.save(tmp_path / "x.npy", np.array([[1.5, 2.0]]))
    with pytest.raises(InputError, match="takes int32, given float64 with fractions"):
        match_inputs(load_data("x.npy", indices, folder=tmp_path), indices.inputs)


def tensor(scale, zero_point, dtype=DType.INT8):
    return Tensor(0, "t", (1,), dtype, Quantization((scale,), (zero_point,)))


def test_quantization_rounds_half_away_from_zero_and_saturates():
    x = np.array([0.25, -0.25, 0.75, 0.24, 1e9, -1e9], np.float32)
    assert quantize_input(x, tensor(0.5, 3)).tolist() == [4, 2, 5, 3, 127, -128]


def test_quantization_does_not_round_up_below_a_half():
    x = np.array([0.49999997], np.float32)
    assert quantize_input(x, tensor(1.0, 0)).tolist() == [0]


def test_quantize_leaves_what_is_quantized():
    q = np.array([5], np.int8)
    assert quantize_input(q, tensor(0.5, 3)) is q
    plain = Tensor(0, "t", (1,), DType.INT32)
    assert quantize_input(np.array([2.0], np.float32), plain).dtype == np.int32


def test_dequantize():
    q = np.array([-128, 4], np.int8)
    assert dequantize(q, tensor(0.5, 3)).tolist() == [-65.5, 0.5]
    assert dequantize(q, Tensor(0, "t", (1,), DType.INT8)).tolist() == [-128.0, 4.0]
