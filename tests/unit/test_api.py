"""The public functions: each argument is checked, and named when it is wrong."""

import dataclasses
import inspect
import os
import typing
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild import api
from edgebuild.arguments import checked, matches
from edgebuild.budget import Budget, read_budget
from edgebuild.cli.options import BUDGETS
from edgebuild.errors import EdgebuildError, InputError
from edgebuild.pipeline import BuildRequest, make_plan
from edgebuild.project import Normalization
from edgebuild.toml_reader import Problems, Reader
from tests.small import small_model


class Pathlike:
    """What ``__fspath__`` returns, or raises."""

    def __init__(self, result):
        self.result = result

    def __fspath__(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


PUBLIC = {name: getattr(edgebuild, name) for name in edgebuild.__all__}
VALUES = {
    "None": None,
    "True": True,
    "int": 7,
    "numpy int": np.int64(7),
    "float": 0.5,
    "nan": float("nan"),
    "str": "text",
    "bytes": b"bytes",
    "list": [1, 2],
    "tuple": (1, 2),
    "dict": {1: 2},
    "set": {1},
    "array": np.zeros(2),
    "class": dict,
    "function": len,
    "object": object(),
    "path of bytes": Pathlike(b"/tmp/x"),
    "path of a number": Pathlike(5),
    "path that fails": Pathlike(RuntimeError("closed")),
    "complex": 1j,
    "range": range(3),
}
"""One value of each kind, to be given for every parameter that does not take it."""

TEXTS = {
    "": "must not be empty",
    "x" * 5000: "must have at most 4,096 characters, not 5,000",
    "a\0b": "must not contain a NUL character: a string ('a\\x00b')",
    "\ud800": "must be text that has a UTF-8 form, not a string ('\\ud800')",
}
"""What no string and no path can be, and what is said of it."""

WRAPPED = {"list": lambda text: [text], "key": lambda text: {text: "1/2"}, "text": str}
"""The forms in which parameters take strings."""


def parameters():
    for name, function in PUBLIC.items():
        hints = typing.get_type_hints(inspect.unwrap(function))
        for key in inspect.signature(function).parameters:
            yield name, key, hints[key]


def wrong_arguments():
    for name, key, hint in parameters():
        for label, value in VALUES.items():
            if not matches(value, hint) or isinstance(value, Pathlike):
                yield pytest.param(name, key, value, id=f"{name}-{key}-{label}")


def wrong_texts():
    for name, key, hint in parameters():
        for form, wrap in WRAPPED.items():
            if matches(wrap("x"), hint):
                for text in TEXTS:
                    yield pytest.param(
                        name, key, wrap(text), id=f"{name}-{key}-{form}-{text[:4]!r}"
                    )


@pytest.mark.parametrize(("name", "key", "value"), list(wrong_arguments()))
def test_a_wrong_type_is_an_error_that_names_the_argument(tmp_path, name, key, value):
    required = {
        k: str(tmp_path / "nothing")
        for k, p in inspect.signature(PUBLIC[name]).parameters.items()
        if p.default is p.empty
    }
    with pytest.raises(EdgebuildError, match=rf"^{name}\(\): '{key}' must be ") as caught:
        PUBLIC[name](**{**required, key: value})
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(("name", "key", "value"), list(wrong_texts()))
def test_a_wrong_text_is_an_error_that_names_the_argument(tmp_path, name, key, value):
    text = value if isinstance(value, str) else next(iter(value))
    required = {
        k: str(tmp_path / "nothing")
        for k, p in inspect.signature(PUBLIC[name]).parameters.items()
        if p.default is p.empty
    }
    with pytest.raises(InputError) as caught:
        PUBLIC[name](**{**required, key: value})
    assert str(caught.value) == f"{name}(): '{key}' {TEXTS[text]}"


def test_every_path_and_string_has_wrong_texts():
    given = {(p.values[0], p.values[1]) for p in wrong_texts()}
    assert ("build", "model") in given and ("build", "training") in given
    assert ("build", "fail_on") in given and ("build", "normalization") in given
    assert ("synthesize", "out") in given and ("build", "budget") in given
    assert ("build", "seed") not in given


def test_every_parameter_has_wrong_values():
    given = {(p.values[0], p.values[1]) for p in wrong_arguments()}
    wanted = {(n, k) for n, f in PUBLIC.items() for k in inspect.signature(f).parameters}
    assert given == wanted


@pytest.mark.parametrize("name", PUBLIC)
def test_unknown_missing_and_misplaced_arguments(name):
    with pytest.raises(InputError, match=rf"{name}\(\) has no argument 'sampels'; did you mean"):
        PUBLIC[name]("m", sampels=3)
    with pytest.raises(InputError, match=rf"{name}\(\) needs the argument 'model'"):
        PUBLIC[name]()
    with pytest.raises(InputError, match=r"takes '\w+' and what follows by name"):
        PUBLIC[name]("m", "t", **dict.fromkeys(required(name), "x"))


def required(name):
    parameters = inspect.signature(PUBLIC[name]).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind == p.KEYWORD_ONLY]


def test_build_takes_every_field_of_a_request():
    """A field that is added to BuildRequest gets an argument of the same name."""
    fields = {field.name for field in dataclasses.fields(BuildRequest)}
    assert fields - set(inspect.signature(edgebuild.build).parameters) == set()


def test_build_takes_every_budget_of_the_command_line():
    assert set(BUDGETS) - set(inspect.signature(edgebuild.build).parameters) == set()
    reader = Reader(dict.fromkeys(BUDGETS), "file", problems := Problems())
    read_budget(reader)
    assert not any("is not a field" in problem for problem in problems.found)


def test_signatures_are_typed():
    for function in PUBLIC.values():
        signature = inspect.signature(function)
        assert all(
            p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.annotation is not p.empty
            for p in signature.parameters.values()
        )
        assert signature.return_annotation is not signature.empty


def request_of(monkeypatch, tmp_path, **options):
    """Return the request that ``build`` makes of its arguments."""
    requests = []
    (tmp_path / "small.tflite").write_bytes(small_model())
    monkeypatch.setattr(api, "run_plan", lambda plan, use_cache: plan)
    monkeypatch.setattr(api, "make_plan", lambda r: requests.append(r) or make_plan(r))
    edgebuild.build(**{"model": tmp_path / "small.tflite", "target": "host", **options})
    return requests[0]


def test_strings_and_paths_are_the_same(monkeypatch, tmp_path):
    options = {"out": tmp_path / "out", "data_folder": tmp_path, "compress": tmp_path / "r.json"}
    del options["compress"]
    as_paths = request_of(monkeypatch, tmp_path, **options)
    as_text = {key: str(value) for key, value in options.items()}
    model = str(tmp_path / "small.tflite")
    assert request_of(monkeypatch, tmp_path, model=model, **as_text) == as_paths


def test_nothing_given_is_the_default(monkeypatch, tmp_path):
    model = tmp_path / "small.tflite"
    assert request_of(monkeypatch, tmp_path) == BuildRequest(model, "host")


def test_budgets_as_a_mapping_and_by_name(monkeypatch, tmp_path):
    given = {"max_flash": "64KiB", "max_ram": 4096, "max_latency": "5ms"}
    found = request_of(monkeypatch, tmp_path, budget=given, max_ram=np.int64(8192)).budget
    assert found == Budget(65536, 8192, 5000.0)
    assert request_of(monkeypatch, tmp_path, **given).budget == Budget(65536, 4096, 5000.0)
    whole = Budget(flash_bytes=1)
    assert request_of(monkeypatch, tmp_path, budget=whole, max_accuracy_drop="1%").budget == Budget(
        flash_bytes=1, max_accuracy_drop=0.01
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": {"max_flsh": 1}}, r"budget\.max_flsh is not a field; did you mean 'max_flash'"),
        ({"budget": {"max_ram": "much"}}, r"budget\.max_ram 'much' is not a size"),
        ({"max_flash": "64 KB"}, r"max_flash .*KiB"),
        ({"max_latency": "5"}, r"max_latency '5' needs a unit"),
        ({"max_accuracy_drop": 7.0}, "max_accuracy_drop"),
        ({"samples": 0}, "samples must be 1 to"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"calibration_samples": 1 << 80}, "calibration_samples must be 1 to"),
        ({"toolchain": "clang"}, "unknown toolchain 'clang'"),
        ({"run": "moon"}, "unknown run kind 'moon'"),
        ({"normalization": {"x": "a/b"}}, "does not have the form INPUT=MEAN/STD"),
        ({"normalization": {"x": 3}}, "'normalization' must be a dictionary"),
        ({"input_shapes": {"x": [1, 0]}}, "does not have the form INPUT=1,96,96,1"),
        ({"input_shapes": {"x": 3}}, "'input_shapes' must be a dictionary"),
        ({"fail_on": [1]}, "'fail_on' must be a string or a list, each a string"),
        ({"data": {}}, "'data' has no arrays"),
        ({"data": np.array([object()])}, "'data': the array 'x' contains Python objects"),
        ({"trials": 3}, "'trials' is for a search"),
        ({"search": True, "timeout": 0}, "'timeout' must be more than 0"),
        ({"search": True, "timeout": 1e300}, "'timeout' must be at most 1,000,000 seconds"),
        ({"search": True, "timeout": "soon"}, "'timeout' 'soon' is not a duration"),
        ({"search": True, "timeout": "5"}, "'timeout' '5' needs a unit of time"),
        ({"search": True, "trials": 0}, "'trials' must be 1 to 4,294,967,295, not 0"),
        ({"search": True, "jobs": -1}, "'jobs' must be 1 to 256, not -1"),
        ({"search": True, "jobs": 10**9}, "'jobs' must be 1 to 256, not 1000000000"),
        ({"samples": 10**5000}, "samples must be 1 to 4,294,967,295, not '?0x"),
        ({"input_shapes": {"x": [10**5000]}}, "does not have the form INPUT=1,96,96,1"),
        ({"timeout": 10**400}, "'timeout' must be a string, a number or None, not a whole number"),
        ({"budget": Budget(flash_bytes="64KiB")}, r"'budget.flash_bytes' must be a whole number"),
        ({"model": "x" * 300}, "file name too long"),
        ({"data": "x" * 300}, "file name too long"),
        ({"train": "x" * 300}, "file name too long"),
        ({"training": "x" * 300}, "file name too long"),
        ({"data": "a.npz", "data_folder": "x" * 300}, "file name too long"),
    ],
)
def test_wrong_values(monkeypatch, tmp_path, options, message):
    with pytest.raises(EdgebuildError, match=message):
        request_of(monkeypatch, tmp_path, **options)


def test_arrays_are_data(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path / "cache"))
    x, y = np.zeros((3, 8, 8, 1), np.float32), np.arange(3)
    found = request_of(monkeypatch, tmp_path, data=(x, y), train={"x": x})
    with np.load(found.data) as archive:
        assert sorted(archive.files) == ["x", "y"]
    again = request_of(monkeypatch, tmp_path, data=(x.copy(), y), train=x)
    assert (again.data, again.train) == (found.data, found.train)
    assert request_of(monkeypatch, tmp_path, data=(x + 1, y)).data != found.data


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.array([1]), r"input 0 'image' expects samples of shape \[8, 8, 1\], got \[\]"),
        (np.float64("inf"), "x is a single value, not samples"),
        (np.full((3, 8, 8, 1), np.nan, np.float32), "x contains 192 NaN or infinite values"),
        (np.zeros((0, 8, 8, 1)), "x is empty"),
        ({"x": np.zeros((3, 8, 8, 1)), "y": np.zeros(2)}, "y has 2 labels for 3 samples"),
    ],
)
def test_an_error_in_arrays_names_the_argument(monkeypatch, tmp_path, given, message):
    """And not the file in the cache that holds them."""
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "small.tflite").write_bytes(small_model())
    with pytest.raises(InputError, match=rf"^build\(\): 'data': {message}") as caught:
        edgebuild.build(
            tmp_path / "small.tflite", target="host", data=given, run="none", out=tmp_path / "out"
        )
    assert "cache" not in str(caught.value)


def test_a_failed_file_operation_is_worded(tmp_path):
    (tmp_path / "small.tflite").write_bytes(small_model())
    with pytest.raises(InputError, match="file name too long"):
        edgebuild.build(
            tmp_path / "small.tflite", target="host", run="none", out=tmp_path / ("x" * 300)
        )

    @checked
    def read(path: str) -> bytes:
        return Path(path).read_bytes()

    with pytest.raises(InputError, match=f"{tmp_path}: is a directory"):
        read(str(tmp_path))


def test_a_path_that_is_no_utf_8(monkeypatch, tmp_path):
    """Python has its bytes as single surrogates."""
    found = request_of(monkeypatch, tmp_path, out=os.fsdecode(b"o\xff"))
    assert os.fsencode(found.out) == b"o\xff"


def test_normalization_as_text(monkeypatch, tmp_path):
    found = request_of(
        monkeypatch, tmp_path, normalization={"a": "1/2"}, fail_on="fallback", target="android-cpu"
    )
    assert found.normalization == {"a": Normalization((1.0,), (2.0,))}
    assert found.fail_on == ("fallback",)


def test_input_shapes_as_text_and_as_numbers(monkeypatch, tmp_path):
    given = {"a": "1,96", "b": [1, 8, 8, 3]}
    found = request_of(monkeypatch, tmp_path, input_shapes=given)
    assert found.input_shapes == {"a": (1, 96), "b": (1, 8, 8, 3)}


def test_a_model_that_is_none_of_keras(tmp_path):
    class Other:
        name = "other"

        def save(self, filepath):
            raise AssertionError

        def count_params(self):
            return 0

    with pytest.raises(InputError, match="is not a Keras 3 model"):
        edgebuild.build(Other(), target="host")


def test_checked_keeps_what_it_wraps():
    @checked
    def half(value: float, *, times: int = 1) -> float:
        """Return it."""
        return value / 2**times

    assert half(np.float32(3)) == 1.5
    assert half(4, times=np.int8(2)) == 1.0
    assert half.__doc__ == "Return it."
    with pytest.raises(InputError, match=r"half\(\): 'times' must be a whole number, not True or"):
        half(1.0, times=True)
