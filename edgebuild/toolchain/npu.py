"""Compile a model ahead of time for one phone chip's NPU, with LiteRT and the vendor's SDK.

It runs in a child process, as it loads the vendor's libraries. What LiteRT returns is checked and
written; a compiler that left everything to the CPU is a failure, not a result.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from edgebuild.delegates.npu import SDKS, Sdk, known_chip, npu_model_name
from edgebuild.errors import ToolError
from edgebuild.files import TemporaryFolder, atomic_write
from edgebuild.profile import Delegate
from edgebuild.tflite.reader import read_tflite
from edgebuild.toolchain.process import run_tool

_CHILD = Path(__file__).with_name("npu_child.py")
_TIMEOUT_S = 900.0
_SHOWN_LINES = 8
_TELLING = re.compile(r"ERROR|Could not|Failed|not found|└")


@dataclass(frozen=True)
class NpuModel:
    """A compiled model: its file, and how many operators of all the NPU runs in how many
    partitions."""

    file: Path
    npu_operators: int
    operators: int
    partitions: int
    log: str


def compile_for_npu(model: bytes, delegate: Delegate, folder: Path) -> NpuModel:
    """Compile ``model`` for the delegate's chip and leave ``model_<soc>.tflite`` in ``folder``.

    Raises:
        InputError: LiteRT does not know the chip.
        ToolError: the SDK is missing (the hint says what to install), the compiler failed, or it
            left every operator to the CPU.
    """
    sdk = SDKS[delegate.vendor or ""]
    soc = known_chip(delegate)
    missing = sdk.missing()
    if missing:
        raise ToolError(f"{missing}; {soc} needs it", hint=sdk.hint)
    with TemporaryFolder("npu") as scratch:
        answer = _ask(Path(scratch), model, delegate, sdk)
        content = Path(answer["file"]).read_bytes()
        read_tflite(content, where=f"the model compiled for {soc}")
        file = folder / npu_model_name(soc)
        atomic_write(file, content)
    return NpuModel(
        file, answer["npu_operators"], answer["operators"], answer["partitions"], answer["log"]
    )


def _ask(scratch: Path, model: bytes, delegate: Delegate, sdk: Sdk) -> dict:
    (scratch / "in.tflite").write_bytes(model)
    job = {"vendor": delegate.vendor, "target": sdk.targets}
    (scratch / "job.json").write_text(json.dumps({**job, "soc": delegate.soc}))
    run_tool(
        [sys.executable, str(_CHILD), str(scratch)],
        what=f"compiling for {delegate.soc}",
        missing_hint=sdk.hint,
        # LiteRT leaves its plug-in's log in a temporary file.
        env={"TMPDIR": str(scratch)},
        timeout_s=_TIMEOUT_S,
    )
    logs = "".join(log.read_text(errors="replace") for log in sorted(scratch.glob("*.error")))
    try:
        answer: dict = json.loads((scratch / "answer.json").read_text())
    except (OSError, ValueError) as error:
        raise ToolError(f"LiteRT's compiler for {delegate.soc} gave no answer") from error
    if "failure" in answer:
        lines = [line.strip() for line in logs.splitlines() if _TELLING.search(line)]
        raise ToolError(
            f"{sdk.vendor}'s compiler refused the model for {delegate.soc}",
            details=[*(lines[-_SHOWN_LINES:] or [answer["failure"]])],
            hint=f"quantize the model with --format int8, or check {sdk.package}",
        )
    if not answer["npu_operators"]:
        raise ToolError(
            f"{sdk.vendor}'s compiler left all {answer['operators']} operators to the CPU",
            hint="quantize the model with --format int8, or build for android-gpu",
        )
    return {**answer, "log": logs}
