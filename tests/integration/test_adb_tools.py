"""``bench --benchmark-model``: stand-ins for both tools of that name, run in QEMU over adb."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgebuild.backends.arm64 import TRIPLE
from edgebuild.toolchain import CompileJob
from edgebuild.toolchain.zig import ZigToolchain
from tests.phone.fixtures import QUICK, bench, edited

pytestmark = pytest.mark.adb
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tools(tmp_path_factory, adb_server):
    """Stand-ins for both tools that are called benchmark_model."""
    folder = tmp_path_factory.mktemp("tools")
    source = (ROOT / "tests" / "phone" / "benchmark_model.c").read_text()
    made = {}
    for name, defines in (("tflite", {}), ("litert", {"LITERT": "1"}), ("silent", {"SILENT": "1"})):
        job = CompileJob({"benchmark_model.c": source}, defines=defines)
        made[name] = ZigToolchain().compile_static(
            job, TRIPLE, folder / name, progress=lambda _: None
        )
    return made


@pytest.mark.parametrize(
    ("delegate", "words"),
    [
        ("xnnpack", "the model graph will not be executed by the delegate"),
        ("gpu", "completely executed by the delegate"),
        ("nnapi", "partially executed by the delegate w/ 2 delegate kernels"),
    ],
)
def test_tflites_tool(phone_build, phones, tools, tmp_path, delegate, words, capsys):
    phone = phones()
    flags = ["--benchmark-model", str(tools["tflite"]), "--runs", "20", "--cpus", "0", "--json"]
    flags += ["--accelerator", "edgetpu"] if delegate == "nnapi" else []
    assert bench(edited(phone_build, tmp_path / "copy", delegate=delegate), phone, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    run = {k.partition(", ")[2]: f["value"] for k, f in report["run"].items() if "_model" in k}
    assert run["average"] == 3012.5 and run["median"] == 3005 and run["p95"] == 3300
    assert run["shortest"] == 2900 and run["longest"] == 3500 and run["init"] == 38467
    assert run["peak memory"] == 12.5 * 1024**2
    assert run["CONV_2D x2"] == 2250 and run["SOFTMAX x1"] == 250
    assert "AllocateTensors x1" not in run and "Convolution (NHWC, QC8) x1" not in run
    source = report["run"]["benchmark_model, average"]["source"]
    assert delegate in source and "TFLite benchmark_model" in source and "Phone 1" in source
    assert words in "\n".join(report["notes"])
    assert report["comparison"]["different_bytes"] == 0
    assert report["metrics"]["latency_us"] == report["run"]["latency, median"]


def test_litert_tool_alone_with_its_libraries(phone_build, phones, tools, tmp_path, capsys):
    phone = phones()
    copy = edited(phone_build, tmp_path / "copy", delegate="npu", without=["bench-arm64"])
    (tmp_path / "libLiteRt.so").write_bytes(b"\x7fELF")
    flags = ["--benchmark-model", str(tools["litert"]), "--runs", "20", "--json"]
    flags += ["--benchmark-library", str(tmp_path / "libLiteRt.so")]
    assert bench(copy, phone, *flags, "--delegate-args", "--dispatch_library_path=/x") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["comparison"] is None
    assert report["metrics"]["latency_us"]["value"] == 4250
    assert report["run"]["benchmark_model, init"]["value"] == pytest.approx(12340)
    assert report["run"]["benchmark_model, peak memory"]["value"] == 42.5 * 1024**2
    command = next(c for c in phone.commands if "--use_npu=true" in c)
    assert "LD_LIBRARY_PATH" in command and "--dispatch_library_path=/x" in command
    assert "--num_runs=20" in command and "nnapi" not in command


@pytest.mark.parametrize(
    ("tool", "delegate", "flags", "message"),
    [
        ("tflite", "npu", [], "has no flag for the delegate 'npu'"),
        ("litert", "nnapi", [], "has no flag for the delegate 'nnapi'"),
        ("tflite", "gpu", ["--delegate-args", "--nope=1"], "Unconsumed cmdline flags: --nope=1"),
        ("silent", "gpu", [], "printed no average time"),
        ("bench", "gpu", [], "is not a benchmark_model that edgebuild knows"),
    ],
)
def test_a_tool_that_fails(
    phone_build, phones, tools, tmp_path, tool, delegate, flags, message, capsys
):
    phone = phones()
    copy = edited(phone_build, tmp_path / "copy", delegate=delegate)
    program = {**tools, "bench": phone_build / "bench-arm64"}[tool]
    code = bench(copy, phone, *QUICK, "--benchmark-model", str(program), *flags)
    words = capsys.readouterr().err
    assert message in words
    assert code == (2 if "no flag" in message else 3)
