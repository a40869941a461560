"""Running the Edge TPU compiler, with a stand-in that replays pairs."""

import shlex
import sys
import time
from pathlib import Path

import pytest

from edgebuild.coral.compiler import CompilerOptions, compile_models
from edgebuild.coral.compiler_log import read_log
from edgebuild.errors import CheckFailedError, InputError, ModelError, ToolError
from tests.small import small_model
from tests.unit.coral.pairs import PAIRS, truth, truth_path

STAND_IN = Path(__file__).with_name("stand_in_compiler.py")


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def stand_in(tmp_path, coral_dir, monkeypatch):
    """Put the stand-in on the PATH as edgetpu_compiler; returns a function that sets trouble."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    script(bin_dir, "edgetpu_compiler", f'exec {sys.executable} {shlex.quote(str(STAND_IN))} "$@"')
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    monkeypatch.setenv("STAND_IN_MODELS", str(coral_dir))
    monkeypatch.setenv("STAND_IN_TRUTH", str(truth_path(coral_dir)))
    monkeypatch.setenv("STAND_IN_PID", str(tmp_path / "pid"))
    return lambda trouble: monkeypatch.setenv("STAND_IN", trouble)


def source(coral_dir, name):
    return coral_dir / f"{name}.tflite"


@pytest.mark.parametrize(
    ("coral_dir", "name"),
    [
        *(("made", name) for name in ("dense_256", "split_concat", "with_class")),
        *(pytest.param("public", name, marks=pytest.mark.models) for name in PAIRS),
    ],
    indirect=["coral_dir"],
)
def test_a_model_is_compiled_and_checked(stand_in, coral_dir, tmp_path, name):
    (made,) = compile_models([source(coral_dir, name)], tmp_path / "out")
    known = truth(coral_dir)[name]
    assert made.path.read_bytes() == (coral_dir / f"{name}_edgetpu.tflite").read_bytes()
    assert made.compiler == "16.0.384591198"
    assert dict(made.model.cpu_operators) == known["remaining_on_cpu"]
    assert made.log.operators == sum(known["ops"].values())
    assert made.log.cached_bytes == pytest.approx(known["param_bytes_cached"], rel=0.01)
    assert len(made.log.table) == len(known["mapped"]) + len(known["remaining_on_cpu"])
    assert "Compilation succeeded" in (tmp_path / "out" / "edgetpu_compiler.log").read_text()


def test_models_are_compiled_together(stand_in, coral_dir, tmp_path):
    made = compile_models([source(coral_dir, n) for n in PAIRS[:2]], tmp_path / "out")
    assert [m.path.name for m in made] == [
        "dense_256_edgetpu.tflite",
        "split_concat_edgetpu.tflite",
    ]
    assert [m.log.input_name for m in made] == ["dense_256.tflite", "split_concat.tflite"]


def test_options_reach_the_compiler(stand_in, coral_dir, tmp_path):
    options = CompilerOptions(min_runtime=13, multiple_subgraphs=True, timeout_s=90)
    compile_models([source(coral_dir, "dense_256")], tmp_path / "out", options)
    assert "timer of 90 seconds" in (tmp_path / "out" / "edgetpu_compiler.log").read_text()


TROUBLES = {
    "large": (ToolError, "failed .exit code 1.", "smaller input"),
    "version": (ToolError, "failed", "older TensorFlow"),
    "missing": (ToolError, "did not write dense_256_edgetpu", "by hand"),
    "wrong": (ToolError, "is a different model", "another version"),
    "damaged": (ModelError, "package of operator 0 is damaged", "compile the model again"),
    "truncated": (ModelError, "damaged|truncated", "again"),
    "source": (CheckFailedError, "not one operator of dense_256", "int8"),
    "silent": (ToolError, "did not report that it compiled", "edgebuild check"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_is_explained_and_nothing_is_written(stand_in, coral_dir, tmp_path, trouble):
    stand_in(trouble)
    kind, words, hint = TROUBLES[trouble]
    with pytest.raises(kind, match=words) as caught:
        compile_models([source(coral_dir, "dense_256")], tmp_path / "out")
    assert hint in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_hanging_compiler_is_ended_with_its_children(stand_in, coral_dir, tmp_path, monkeypatch):
    stand_in("hang")
    monkeypatch.setattr("edgebuild.coral.compiler._GRACE_S", 0.5)
    begin = time.monotonic()
    with pytest.raises(ToolError, match="did not end in 2 s while compiling"):
        compile_models([source(coral_dir, "dense_256")], tmp_path, CompilerOptions(timeout_s=1))
    assert time.monotonic() - begin < 20
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _alive(child):
            break
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid):
    """A process that nobody waits for yet is dead all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_another_model_fails(stand_in, tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(small_model())
    with pytest.raises(ToolError, match="failed") as caught:
        compile_models([path], tmp_path / "out")
    assert caught.value.details == ("Compilation failed!",)


def test_without_a_compiler(coral_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="edgetpu_compiler is not installed") as caught:
        compile_models([source(coral_dir, "dense_256")], tmp_path)
    assert "--edgetpu-container" in caught.value.hint


def test_a_compiled_model_is_not_compiled_again(coral_dir, tmp_path):
    with pytest.raises(InputError, match="already compiled"):
        compile_models([coral_dir / "dense_256_edgetpu.tflite"], tmp_path)


def test_in_a_container(stand_in, coral_dir, tmp_path, monkeypatch):
    """The engine is a script that checks its arguments and runs the stand-in in the folder."""
    script(
        tmp_path / "bin",
        "docker",
        f"""echo "$@" > {tmp_path}/arguments
test "$1 $2 $3" = "run --rm --name" && test "$5 $6" = "--network none" || exit 125
folder=${{8%:/work}}; test "$9" = --workdir || exit 125; shift 10
test "$1 $2 $3" = "--entrypoint edgetpu_compiler coral:16" || exit 125; shift 3
cd "$folder" && exec edgetpu_compiler "$@" """,
    )
    options = CompilerOptions(container="coral:16", engine="docker")
    (made,) = compile_models([source(coral_dir, "dense_256")], tmp_path / "out", options)
    assert made.model.packages[0].cached_bytes == 67584


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (125, "Cannot connect to the Docker daemon", "start the service of docker"),
        (125, "Unable to find image 'nosuchimage:latest' locally", "docker pull nosuchimage"),
        (126, "exec: edgetpu_compiler: permission denied", "it runs on x86-64 only"),
        (127, "exec: edgetpu_compiler: not found", "has the compiler on its PATH"),
    ],
)
def test_an_engine_that_fails_is_not_the_model_s_fault(
    stand_in, coral_dir, tmp_path, code, said, hint
):
    script(tmp_path / "bin", "docker", f'echo "{said}" >&2; exit {code}')
    options = CompilerOptions(container="nosuchimage", engine="docker")
    with pytest.raises(ToolError, match="docker could not run edgetpu_compiler in the") as caught:
        compile_models([source(coral_dir, "dense_256")], tmp_path / "out", options)
    assert f"image nosuchimage (exit code {code})" in caught.value.message
    assert caught.value.details == (said,) and hint in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_compiler_that_spoke_in_its_container_is_judged_itself(stand_in, coral_dir, tmp_path):
    script(tmp_path / "bin", "docker", 'echo "Edge TPU Compiler version 16.0.1"; exit 127')
    options = CompilerOptions(container="coral:16", engine="docker")
    with pytest.raises(ToolError, match="edgetpu_compiler failed"):
        compile_models([source(coral_dir, "dense_256")], tmp_path / "out", options)


def test_a_hanging_container_is_killed_by_name(stand_in, coral_dir, tmp_path, monkeypatch):
    script(
        tmp_path / "bin",
        "podman",
        f'echo "$1 $2" >> {tmp_path}/calls; test "$1" = kill || exec sleep 600',
    )
    monkeypatch.setattr("edgebuild.coral.compiler._GRACE_S", 0.5)
    options = CompilerOptions(container="coral:16", engine="podman", timeout_s=1)
    with pytest.raises(ToolError, match="podman did not end"):
        compile_models([source(coral_dir, "dense_256")], tmp_path / "out", options)
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first == "run --rm"
    assert second.startswith("kill edgebuild-")


@pytest.mark.parametrize(
    "options",
    [{"min_runtime": 9}, {"timeout_s": 0}, {"container": "--privileged"}, {"engine": "sh"}],
)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError):
        CompilerOptions(**options)


def test_a_log_of_an_old_version():
    log = read_log(
        "Edge TPU Compiler version 2.0.267685300\nModel compiled successfully in 231 ms.\n"
        "Input model: m.tflite\nOn-chip memory available for caching model parameters: 1.73MiB\n"
        "On-chip memory used for caching model parameters: 10.00KiB\n"
        "Number of operations that will run on CPU: 2\n\nOperator   Count      Status\n\n"
        "DEPTHWISE_CONV_2D              1          Mapped to Edge TPU\n"
        "DEQUANTIZE             1          Operation is working on an unsupported data type\n"
    )
    (model,) = log.models
    assert log.version == "2.0.267685300"
    assert (model.cached_bytes, model.on_cpu, model.operators) == (10240, 2, None)
    assert model.table[1] == (
        "DEQUANTIZE",
        1,
        "Operation is working on an unsupported data type",
    )


def test_garbage_is_no_log():
    log = read_log("\x00\xff" * 100)
    assert (log.version, log.succeeded, log.models) == ("", False, ())
