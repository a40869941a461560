"""Every shipped board's firmware links, and its model runs under the board's memory map."""

from __future__ import annotations

import shutil

import pytest

import edgebuild
from edgebuild.targets import list_targets
from tests.small import small_model

TARGETS = [t.name for t in list_targets() if t.firmware is not None]


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("target", TARGETS)
def test_firmware_of_every_board(target, toolchain, tmp_path):
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    (tmp_path / "small.tflite").write_bytes(small_model())
    run = "none" if target in ("cortex-m55", "mps3-an547") else "simulator"
    report = edgebuild.build(
        tmp_path / "small.tflite", target=target, out=tmp_path, toolchain=toolchain, run=run
    )
    assert report.passed
    folder = tmp_path / f"small-{target}"
    assert (folder / "firmware.bin").stat().st_size > 5_000
    assert (report.comparison is None) == (run == "none")
