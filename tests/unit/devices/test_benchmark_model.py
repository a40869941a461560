"""Real lines of both tools; what they print for whole runs is in tests/integration/test_adb.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebuild.devices.benchmark_model import (
    Tool,
    ToolRun,
    detect,
    flags,
    parse_output,
    tool_figures,
)
from edgebuild.errors import InputError, ToolError

END = (
    "INFO: Inference timings in us: Init: 16242, First inference: 3512391, "
    "Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06"
)


def tflite(*text):
    return parse_output(Tool.TFLITE, "\n".join((*text, END)), "phone")


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        ("--graph\n--use_nnapi=false", Tool.TFLITE),
        ("--use_npu=false\n--use_gpu", Tool.LITERT),
    ],
)
def test_the_help_tells_which_tool_it_is(words, tool):
    assert detect(words) is tool


@pytest.mark.parametrize("words", ["", "usage: ls\x1b[2J", "\n\n"])
def test_another_program(words):
    with pytest.raises(ToolError, match="not a benchmark_model"):
        detect(words)


def test_flags_of_each_tool():
    run = ToolRun("nnapi", accelerator="google-edgetpu", warmup=3, runs=7, threads=2)
    found = flags(Tool.TFLITE, "/m", run)
    assert {"--graph=/m", "--num_runs=7", "--warmup_runs=3", "--num_threads=2"} < set(found)
    assert {"--use_nnapi=true", "--nnapi_accelerator_name=google-edgetpu"} < set(found)
    litert = flags(Tool.LITERT, "/m", ToolRun("xnnpack"))
    assert "--use_cpu=true" in litert
    assert not any("xnnpack" in f or "op_profiling" in f for f in litert)


def test_the_users_flags_win():
    found = flags(Tool.TFLITE, "/m", ToolRun("gpu", extra=("--num_runs=9", "--gpu_backend=cl")))
    assert [f for f in found if "num_runs" in f] == ["--num_runs=9"]
    assert found[-1] == "--gpu_backend=cl"


@pytest.mark.parametrize(("tool", "delegate"), [(Tool.TFLITE, "npu"), (Tool.LITERT, "nnapi")])
def test_a_delegate_that_the_tool_lacks(tool, delegate):
    with pytest.raises(InputError, match=f"has no flag for the delegate '{delegate}'"):
        flags(tool, "/m", ToolRun(delegate))


def test_scientific_notation_and_runs_that_are_all_the_same():
    found = tflite(
        "count=10 first=9 curr=9 min=1 max=9 avg=5 std=3", "", "count=4 curr=3001 (all same)"
    )
    assert found.average_us == 2950340 and found.first_us == 3512391
    assert found.runs == 4
    assert found.shortest_us == found.longest_us == found.median_us == 3001
    assert found.std_us is None


def test_an_older_build_has_no_percentiles():
    found = tflite("INFO: count=50 first=33 curr=33 min=32 max=34 avg=33.4 std=1")
    assert found.median_us is None and found.p95_us is None and found.longest_us == 34
    assert "benchmark_model, median" not in tool_figures(found, "phone")


def test_the_profilers_own_statistics_are_not_those_of_the_runs():
    found = tflite(
        "count=50 first=33 curr=33 min=32 max=34 avg=33.4 std=1",
        "Timings (microseconds): count=50 first=9 curr=9 min=9 max=9 avg=9 std=0",
    )
    assert found.shortest_us == 32


@pytest.mark.parametrize(
    ("line", "partitions"),
    [
        ("INFO: Explicitly applied GPU delegate, and the model graph will be completely executed "
         "by the delegate.", 1),
        ("INFO: Explicitly applied NNAPI delegate, and the model graph will be partially executed "
         "by the delegate w/ 12 delegate kernels.", 12),
        ("INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed "
         "by the delegate.", 0),
    ],
)  # fmt: skip
def test_what_the_delegate_took(line, partitions):
    found = tflite(line, line)
    assert found.partitions == partitions
    assert found.delegation == (line.removeprefix("INFO: "),)


def test_nothing_is_said_of_a_delegate():
    assert tflite().partitions is None and tflite().delegation == ()


@pytest.mark.parametrize(
    "average", ["nan", "inf", "1e300", "...", "-5", "9" * 500], ids=lambda v: v[:8]
)
def test_a_time_that_is_none(average):
    text = END.replace("2.95034e+06", average)
    with pytest.raises(ToolError, match="no average time"):
        parse_output(Tool.TFLITE, text, "phone")


def test_the_last_lines_say_why():
    with pytest.raises(ToolError) as caught:
        parse_output(Tool.LITERT, "a\nERROR: no\x07 NPU\n", "phone")
    assert caught.value.details == ("a", "ERROR: no? NPU")


PIECES = [
    END,
    "count=1 curr=1",
    "INFO: Overall peak memory footprint (MB) via periodic monitoring: 1..2",
    "== Summary by node type ==",
    "\t[Node type]\t[count]\t[avg ms]\t[avg %]\t[cdf %]\t[mem KB]\t[times called]",
    "\tCONV_2D\t2\t1.5\t90%\t100%\t0\t2",
    "\tCONV_2D\tx\t-1.5\tnan\t100%\t0\t2",
    "Inference (avg): 4.25 ms (50 runs)",
    "Peak memory: 1e99 MB",
]


@given(st.sampled_from(Tool), st.text() | st.lists(st.sampled_from(PIECES)).map("\n".join))
def test_whatever_is_printed_is_a_result_or_an_explanation(tool, text):
    try:
        found = parse_output(tool, text, "phone")
    except ToolError:
        return
    assert all(figure.value >= 0 for figure in tool_figures(found, "phone").values())
