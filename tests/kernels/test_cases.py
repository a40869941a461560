"""Every case of every operator: TFLite Micro, the NumPy reference and the compiled C agree.

The C runs on the host under address and undefined-behaviour sanitizers, the DSP and Helium kernels
there too and as an Arm program under qemu-arm or as firmware for a Cortex-M55, the NEON kernels
under qemu-aarch64 on CPUs with each instruction set. A new operator gets these tests by having
``cases()``.
"""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.ops import OPS
from edgebuild.ops.support import check_supported, interpret
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.writer import write_tflite
from tests.kernels import harness, m55

SAMPLES = 5
KINDS = sorted(OPS)
NEON_CPUS = ("cortex-a53", "cortex-a76", "max")
"""Without extensions, with the dot product, with i8mm."""


@pytest.fixture(scope="module")
def expected() -> dict[str, list[list[tuple[np.ndarray, ...]]]]:
    """NumPy outputs by operator kind, then case, then sample; computed once for all tests."""
    results = {}
    for kind in KINDS:
        per_case = []
        for case in OPS[kind].cases():
            check_supported(case.graph)
            rows = []
            for sample in harness.sample_inputs(case.graph, SAMPLES):
                values = interpret(case.graph, sample)
                rows.append(tuple(values[i] for i in case.graph.outputs))
            per_case.append(rows)
        results[kind] = per_case
    return results


def assert_same(kind, expected_rows, actual_rows, where):
    for case, want, have in zip(OPS[kind].cases(), expected_rows, actual_rows, strict=True):
        for number, (a, b) in enumerate(zip(want, have, strict=True)):
            for x, y in zip(a, b, strict=True):
                assert x.dtype == y.dtype, f"{case.name} on {where}"
                np.testing.assert_array_equal(
                    x.reshape(y.shape), y, err_msg=f"{kind} {case.name} sample {number} on {where}"
                )


@pytest.mark.parametrize("kind", KINDS)
def test_reference_equals_tflite_micro(kind, expected):
    cases = list(OPS[kind].cases())
    assert cases
    jobs = [
        (write_tflite(case.graph), harness.sample_inputs(case.graph, SAMPLES)) for case in cases
    ]
    child = Path(__file__).with_name("oracle_child.py")
    done = subprocess.run(
        [sys.executable, str(child)], input=pickle.dumps(jobs), capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    answers = pickle.loads(done.stdout)
    for case, answer in zip(cases, answers, strict=True):
        assert not isinstance(answer, str), f"{kind} {case.name}: {answer}"
    assert_same(kind, expected[kind], answers, "tflite-micro")


def has_kernel(kind, cpu):
    """Whether a case runs another kernel than the portable one."""
    operator = OPS[kind]
    return any(
        operator.kernel(node, cpu).sources != operator.kernel(node, CpuFeatures()).sources
        for node in (case.graph.node(0) for case in operator.cases())
    )


def run_compiled(kind, cpu, compiler, folder, prefix=()):
    graphs = [case.graph for case in OPS[kind].cases()]
    return run_samples(kind, harness.build_program(graphs, cpu, compiler, folder), prefix)


def samples_of(graphs):
    """Return ``SAMPLES`` requests of each model."""
    return [
        harness.Request(number, sample)
        for number, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, SAMPLES)
    ]


def run_samples(kind, program, prefix):
    graphs = [case.graph for case in OPS[kind].cases()]
    requests = samples_of(graphs)
    flat = harness.run_program(program, graphs, requests, prefix)
    return [flat[i * SAMPLES : (i + 1) * SAMPLES] for i in range(len(graphs))]


@pytest.mark.parametrize("kind", KINDS)
def test_portable_c_equals_reference(kind, expected, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    actual = run_compiled(kind, CpuFeatures(), harness.SANITIZED_GCC, tmp_path)
    assert_same(kind, expected[kind], actual, "portable C")


@pytest.mark.parametrize("kind", KINDS)
def test_portable_c_equals_reference_in_thumb_state(kind, expected, tmp_path):
    if shutil.which("qemu-arm") is None:
        pytest.skip("no qemu-arm on this machine (Debian: qemu-user)")
    actual = run_compiled(kind, CpuFeatures(), harness.ARM_DSP_ZIG, tmp_path, ["qemu-arm"])
    assert_same(kind, expected[kind], actual, "portable C and assembly")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_laid_out_for_dsp_runs_anywhere(kind, expected, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    dsp = CpuFeatures(dsp=True)
    if not has_kernel(kind, dsp):
        pytest.skip(f"{kind} has no DSP kernel")
    actual = run_compiled(kind, dsp, harness.SANITIZED_GCC, tmp_path)
    assert_same(kind, expected[kind], actual, "portable twin of DSP C")


@pytest.mark.parametrize("kind", KINDS)
def test_dsp_c_equals_reference(kind, expected, tmp_path):
    if shutil.which("qemu-arm") is None:
        pytest.skip("no qemu-arm on this machine (Debian: qemu-user)")
    dsp = CpuFeatures(dsp=True)
    if not has_kernel(kind, dsp):
        pytest.skip(f"{kind} has no DSP kernel")
    actual = run_compiled(kind, dsp, harness.ARM_DSP_ZIG, tmp_path, ["qemu-arm"])
    assert_same(kind, expected[kind], actual, "Arm DSP C")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_laid_out_for_helium_runs_anywhere(kind, expected, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    if not has_kernel(kind, m55.MVE):
        pytest.skip(f"{kind} has no Helium kernel")
    actual = run_compiled(kind, m55.MVE, harness.SANITIZED_GCC, tmp_path)
    assert_same(kind, expected[kind], actual, "portable twin of Helium C")


@pytest.mark.qemu
@pytest.mark.parametrize("kind", KINDS)
@m55.TOOLCHAINS
def test_helium_c_equals_reference(kind, toolchain, expected, tmp_path):
    if not has_kernel(kind, m55.MVE):
        pytest.skip(f"{kind} has no Helium kernel")
    graphs = [case.graph for case in OPS[kind].cases()]
    requests = samples_of(graphs)
    program = m55.build_program(graphs, toolchain, tmp_path)
    flat = m55.run_program(program, graphs, requests)
    actual = [flat[i * SAMPLES : (i + 1) * SAMPLES] for i in range(len(graphs))]
    assert_same(kind, expected[kind], actual, f"Helium C by {toolchain}")


@pytest.mark.parametrize("kind", KINDS)
def test_neon_c_equals_reference(kind, expected, tmp_path):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("no qemu-aarch64 on this machine (Debian: qemu-user)")
    neon = CpuFeatures(neon=True)
    if not has_kernel(kind, neon):
        pytest.skip(f"{kind} has no NEON kernel")
    graphs = [case.graph for case in OPS[kind].cases()]
    program = harness.build_program(graphs, neon, harness.ARM64_ZIG, tmp_path)
    for cpu in NEON_CPUS:
        actual = run_samples(kind, program, ["qemu-aarch64", "-cpu", cpu])
        assert_same(kind, expected[kind], actual, f"NEON C on {cpu}")
