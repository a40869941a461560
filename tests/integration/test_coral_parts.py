"""Coral builds of models that map in part: the parts beside the whole model."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgebuild
from edgebuild.errors import InternalError
from edgebuild.graph import DType, Op, Tensor
from edgebuild.report.model import report_from_json
from edgebuild.tflite.writer import write_tflite
from tests.small import small_graph


def with_class_number():
    """Return the small model with the number of the best class as its output; ARG_MAX stays."""
    graph = small_graph()
    axis = Tensor(20, "axis", (1,), DType.INT32, data=np.array([1], np.int32))
    number = Tensor(21, "number", (1,), DType.INT32)
    return graph.replace(
        outputs=(21, 12),
        ops=(*graph.ops, Op("ARG_MAX", (12, 20), (21,), {"output_type": "INT32"})),
        tensors={**graph.tensors, 20: axis, 21: number},
    )


def invoked(path, arrays):
    """Run one inference as an application would."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def by_the_report(out, inputs):
    """Run the parts as ``report.json`` says that they join."""
    told = json.loads((out / "report.json").read_text())["parts"]
    values = {0: inputs}
    for number, part in enumerate(told["parts"], 1):
        arrays = [values[feed["part"]][feed["position"]] for feed in part["inputs"]]
        values[number] = invoked(out / part["file"], arrays)
    return [values[feed["part"]][feed["position"]] for feed in told["outputs"]]


def test_what_stays_on_the_cpu_is_a_part_of_its_own(folder, command):
    (folder / "net.tflite").write_bytes(write_tflite(with_class_number()))
    code, out, err = command("build", "net.tflite", "--target", "coral-usb")
    assert (code, err) == (0, "")
    line = "parts: 2 (operators: 5 on the Edge TPU, 1 on the CPU), checked on 8 samples"
    assert line in out.splitlines()
    place = folder / "build/net-coral-usb"
    written = {p.relative_to(place).as_posix() for p in place.rglob("*.tflite")}
    assert written == {"model.tflite", "parts/1_edgetpu.tflite", "parts/2_cpu.tflite"}
    value = json.loads((place / "report.json").read_text())
    assert set(value["artifacts"]) == written
    assert report_from_json(value).to_json() == value
    for seed in range(5):
        image = np.random.default_rng(seed).integers(-128, 128, (1, 8, 8, 1)).astype(np.int8)
        whole = invoked(place / "model.tflite", [image])
        for ours, theirs in zip(by_the_report(place, [image]), whole, strict=True):
            assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()
    code, out, _ = command("build", "net.tflite", "--target", "coral-usb")
    assert code == 0 and "cached" in out and line in out.splitlines()


def test_each_part_is_a_model_of_its_own(folder, command):
    """What maps is mapped whole; the rest becomes C."""
    (folder / "net.tflite").write_bytes(write_tflite(with_class_number()))
    edgebuild.build("net.tflite", target="coral-micro")
    parts = folder / "build/net-coral-micro/parts"
    code, out, _ = command("check", parts / "1_edgetpu.tflite", "--target", "coral-micro")
    assert code == 0 and "Edge TPU runs 5 of 5 operators in 1 partition" in out
    report = edgebuild.build(parts / "2_cpu.tflite", target="host")
    assert report.comparison.equal and [layer.kind for layer in report.layers] == ["ARG_MAX"]


def test_a_model_that_maps_whole_has_no_parts(folder, command):
    code, out, _ = command("build", "small.tflite", "--target", "coral-usb")
    assert code == 0 and "parts:" not in out
    place = folder / "build/small-coral-usb"
    assert not (place / "parts").exists()
    assert json.loads((place / "report.json").read_text())["parts"] is None


def test_a_model_of_which_nothing_maps_has_no_parts(folder):
    graph = small_graph()
    image = graph.tensors[0]
    ops = (Op("ABS", (0,), (1,)),)
    alone = graph.replace(outputs=(1,), ops=ops, tensors={0: image, 1: image})
    (folder / "abs.tflite").write_bytes(write_tflite(alone))
    report = edgebuild.build("abs.tflite", target="coral-usb")
    assert report.parts is None and not (folder / "build/abs-coral-usb/parts").exists()


def test_a_phone_gets_the_whole_model(folder):
    report = edgebuild.build("small.tflite", target="android-cpu")
    assert report.compatibility.fallbacks and report.parts is None
    assert not (folder / "build/small-android-cpu/parts").exists()


def test_parts_that_compute_something_else_leave_nothing_behind(folder, command, monkeypatch):
    (folder / "net.tflite").write_bytes(write_tflite(with_class_number()))

    def without_weights(graph):
        cleared = {
            i: dataclasses.replace(t, data=np.zeros_like(t.data))
            for i, t in graph.tensors.items()
            if t.data is not None and t.dtype == DType.INT8
        }
        return write_tflite(graph.replace(tensors={**graph.tensors, **cleared}))

    monkeypatch.setattr("edgebuild.pipeline.parts.write_tflite", without_weights)
    code, _, err = command("build", "net.tflite", "--target", "coral-usb")
    assert code == 70 and "the parts do not give the whole model's outputs" in err
    assert "Traceback" not in err
    assert not (folder / "build/net-coral-usb").exists()
    with pytest.raises(InternalError):
        edgebuild.build("net.tflite", target="coral-usb")


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("deeplabv3_mnv2_dm05_pascal_quant", "2 (operators: 64 on the Edge TPU, 8 on the CPU)"),
        ("movenet_single_pose_lightning_ptq", "3 (operators: 98 on the Edge TPU, 59 on the CPU)"),
    ],
)
def test_real_models(public_coral_dir, folder, name, line):
    report = edgebuild.build(public_coral_dir / f"{name}.tflite", target="coral-usb", name="net")
    assert report.passed and report.parts.summary() == f"{line}, checked on 8 samples"
    place = folder / "build/net-coral-usb"
    (detail,) = Interpreter(model_path=str(place / "model.tflite")).get_input_details()
    image = np.random.default_rng(3).integers(0, 256, detail["shape"]).astype(np.uint8)
    (whole,), (ours,) = invoked(place / "model.tflite", [image]), by_the_report(place, [image])
    assert ours.tobytes() == whole.tobytes()
