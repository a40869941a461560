"""What the runner of phones gives a tool to run; tests/integration/test_adb.py has whole runs."""

from types import SimpleNamespace

import pytest

from edgebuild.errors import ToolError
from edgebuild.pipeline.runners import adb
from edgebuild.pipeline.runners.adb import AdbRunner, ToolChoice
from edgebuild.pipeline.runners.base import Build

COMPILED = "model_SM8750.tflite"


def pushed(folder, monkeypatch, delegate, files):
    """Return the bytes of the model that ``benchmark_model`` is given."""
    given = []

    class Phone:
        def __init__(self, *args, **options): ...

        def benchmark(self, request, model):
            given.append(model)
            raise ToolError("enough")

    monkeypatch.setattr(adb, "AdbDevice", Phone)
    for name in files:
        (folder / name).write_text(name)
    report = SimpleNamespace(name="net", target={"name": "phone", "delegate": delegate})
    build = Build(folder, report, frozenset(files))
    with pytest.raises(ToolError, match="enough"):
        AdbRunner("0", tool=ToolChoice(folder / "tool")).run(build, (), lambda _: None)
    return given[0].decode()


@pytest.mark.parametrize(
    ("kind", "files", "expected"),
    [
        ("npu", ["model.tflite", COMPILED], COMPILED),
        ("npu", ["model.tflite"], "model.tflite"),
        ("npu", ["model.tflite", "model_SM8650.tflite"], "model.tflite"),
        ("gpu", ["model.tflite", COMPILED], "model.tflite"),
    ],
)
def test_the_tool_runs_the_model_that_the_app_ships(tmp_path, monkeypatch, kind, files, expected):
    delegate = {"kind": kind, "soc": "SM8750"}
    assert pushed(tmp_path, monkeypatch, delegate, files) == expected
