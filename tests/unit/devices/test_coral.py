"""The Coral runner, really executed on this machine's CPU, and transports that go wrong."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.coral import transports
from edgebuild.coral.bench import RUNNER, RunnerOptions, run_model
from edgebuild.coral.transports import LocalTransport, SshTransport
from edgebuild.devices.coral import CoralDevice, coral_figures
from edgebuild.errors import Exit, InputError, ToolError
from edgebuild.graph import DType, Tensor
from edgebuild.models.convert import litert_outputs
from edgebuild.ops.cases import one_op
from edgebuild.resources import resource_dir
from edgebuild.tflite.writer import write_tflite
from edgebuild.toolchain.process import Finished
from edgebuild.verification import make_samples
from tests.small import small_graph, small_model

CPU = RunnerOptions(warmup=1, runs=3, edgetpu=False, limit_s=60)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(small_model())
    return path


@pytest.fixture
def samples():
    return make_samples(small_graph(), 5, 1)


def expected(samples):
    array = np.frombuffer(b"".join(s[0] for s in samples), np.int8).reshape(-1, 1, 8, 8, 1)
    (rows,) = litert_outputs(small_model(), [array])
    return [row.tobytes() for row in rows]


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Put an ssh and an scp on the PATH that stay on this machine; returns what they wrote down."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "calls"
    scripts = {
        "ssh": f'echo "ssh $*" >> {log}; shift 4; test "$1" = mendel@board || exit 255\n'
        'shift; exec sh -c "$1"',
        "scp": f'echo "scp $*" >> {log}; shift 5\nexec cp "$1" "${{2#mendel@board:}}"',
        "python3": f'exec {shlex.quote(sys.executable)} "$@"',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_outputs_are_litert_s_and_times_are_measured(model, samples):
    device = CoralDevice(model, LocalTransport(), CPU)
    result = device.run(samples)
    assert [outputs[0] for outputs in result.outputs] == expected(samples)
    assert result.device == "CPU of this computer"
    assert 0 < result.shortest_us.value <= result.latency_us.value
    assert "ai_edge_litert" in result.latency_us.source


def test_the_same_over_ssh_and_the_folder_is_removed(model, samples, ssh):
    device = CoralDevice.ssh(model, "mendel@board", CPU)
    result = device.run(samples)
    assert [outputs[0] for outputs in result.outputs] == expected(samples)
    calls = ssh.read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["ssh", *["scp"] * 3, *["ssh"] * 3]
    assert all("-o BatchMode=yes -o ConnectTimeout=10" in call for call in calls)
    folder = Path(calls[-1].split()[-1])
    assert folder.name.startswith("edgebuild-")
    assert not folder.exists()


def test_figures_of_the_report(model, samples):
    measured = CoralDevice(model, LocalTransport(), CPU).measure(samples)
    assert measured.temperatures_c == (None, None)
    figures = coral_figures(measured, "here")
    assert figures["latency, median"].value == pytest.approx(measured.median_us)
    assert set(figures) == {"latency, median"}


def test_without_an_edge_tpu(model, samples):
    with pytest.raises(ToolError, match=r"runner failed \(exit code 5\)") as caught:
        CoralDevice.usb(model).run(samples)
    assert "no Edge TPU (libedgetpu.so.1)" in caught.value.details[-1]
    assert "plugged in" in caught.value.hint


def test_a_model_that_fails_while_it_runs_is_told_in_a_sentence(tmp_path):
    values = Tensor(0, "", (3,), DType.FLOAT32)
    index = Tensor(0, "", (1,), DType.INT32)
    taken = Tensor(0, "", (1,), DType.FLOAT32)
    graph = one_op("gather", "GATHER", [values, index], [taken], {"axis": 0, "batch_dims": 0}).graph
    (tmp_path / "gather.tflite").write_bytes(write_tflite(graph))
    outside = (bytes(12), (99).to_bytes(4, "little"))
    with pytest.raises(ToolError, match=r"exit code 4") as caught:
        run_model(tmp_path / "gather.tflite", [outside], LocalTransport(), CPU)
    (line,) = caught.value.details
    assert line.startswith("error: the model failed: ")


def test_outputs_that_have_no_size_before_a_run_are_told(tmp_path):
    found = Tensor(0, "", (3, 1), DType.INT64)
    graph = one_op("where", "WHERE", [Tensor(0, "", (3,), DType.BOOL)], [found], {}).graph
    (tmp_path / "where.tflite").write_bytes(write_tflite(graph))
    with pytest.raises(ToolError, match=r"exit code 8") as caught:
        run_model(tmp_path / "where.tflite", [(b"\1\0\1",)], LocalTransport(), CPU)
    (line,) = caught.value.details
    assert line.startswith("error: an input or output has no size before the model runs: ")
    assert "fixed shapes" in caught.value.hint


@pytest.mark.parametrize("answer", ["/home/mendel", "/tmp/edgebuild-../../home", "/tmp", ""])
def test_a_board_that_answers_another_folder_is_not_cleaned_up(tmp_path, ssh, answer):
    folder = tmp_path / "bin"
    (folder / "ssh").write_text(f'#!/bin/sh\necho "ssh $*" >> {ssh}\necho "{answer}"\n')
    with pytest.raises(ToolError, match="did not create a folder"), SshTransport("mendel@board"):
        pass
    assert "rm -rf" not in ssh.read_text()


@pytest.mark.models
def test_a_compiled_model_does_not_run_on_the_cpu(samples):
    from tests.conftest import models_path

    path = models_path() / "coral" / "dense_256_edgetpu.tflite"
    if not path.is_file():
        pytest.skip("no compiled model")
    with pytest.raises(ToolError, match=r"exit code 4") as caught:
        run_model(path, [(bytes(256),)], LocalTransport(), CPU)
    assert "edgetpu-custom-op" in " ".join(caught.value.details)


def test_wrong_samples_are_refused(model):
    with pytest.raises(ToolError, match=r"exit code 3") as caught:
        run_model(model, [(b"abc",)], LocalTransport(), CPU)
    assert "3 bytes of input are not 1 samples of 64" in caught.value.details[-1]


def test_a_host_that_cannot_be_reached(model, samples, ssh):
    with pytest.raises(ToolError, match=r"other cannot be reached \(exit code 255\)") as caught:
        CoralDevice.ssh(model, "other", CPU).run(samples)
    assert "ssh other true" in caught.value.hint


def test_a_copy_that_fails(model, samples, ssh):
    scp = ssh.parent / "bin" / "scp"
    scp.write_text("#!/bin/sh\necho 'scp: write failed: No space left on device' >&2; exit 1\n")
    with pytest.raises(ToolError, match=r"did not accept eb_coral_runner\.py") as caught:
        CoralDevice.ssh(model, "mendel@board", CPU).run(samples)
    assert "No space left" in caught.value.details[0]
    assert ssh.read_text().splitlines()[-1].split()[-3:-1] == ["rm", "-rf"]


def test_a_board_that_hangs(model, samples, ssh, monkeypatch):
    monkeypatch.setattr("edgebuild.coral.bench._GRACE_S", 0)
    python = ssh.parent / "bin" / "python3"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    options = RunnerOptions(edgetpu=False, limit_s=1)
    with pytest.raises(ToolError, match="did not end in 1 s while running the model on mendel@"):
        CoralDevice.ssh(model, "mendel@board", options).run(samples)
    assert " rm -rf /tmp/edgebuild-" in ssh.read_text().splitlines()[-1]


def test_a_closed_connection(model, samples, ssh):
    (ssh.parent / "bin" / "python3").write_text("#!/bin/sh\nexit 255\n")
    with pytest.raises(ToolError, match="closed the connection"):
        CoralDevice.ssh(model, "mendel@board", CPU).run(samples)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where this computer's temporary files are."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("program", "script"),
    [
        ("python3", f'{shlex.quote(sys.executable)} "$@" && echo >> outputs'),
        ("cat", "exec yes"),
    ],
)
def test_more_outputs_than_the_model_has(model, samples, ssh, scratch, program, script):
    """One byte too many, and a board that never ends."""
    (ssh.parent / "bin" / program).write_text(f"#!/bin/sh\n{script}\n")
    (ssh.parent / "bin" / program).chmod(0o755)
    with pytest.raises(ToolError, match="mendel@board: outputs is larger than the 50 B") as caught:
        CoralDevice.ssh(model, "mendel@board", CPU).run(samples)
    assert caught.value.exit_code == Exit.TOOL_FAILED
    folder = Path(ssh.read_text().splitlines()[-1].split()[-1])
    assert folder.name.startswith("edgebuild-") and not folder.exists()
    assert list(scratch.iterdir()) == []


def test_a_runner_that_never_stops_talking(model, samples, ssh, scratch):
    (ssh.parent / "bin" / "python3").write_text("#!/bin/sh\nexec yes\n")
    with pytest.raises(ToolError, match="ssh wrote more than 16,777,216 B while running the model"):
        CoralDevice.ssh(model, "mendel@board", CPU).run(samples)
    assert " rm -rf /tmp/edgebuild-" in ssh.read_text().splitlines()[-1]
    assert list(scratch.iterdir()) == []


def test_outputs_that_are_not_there(model, samples, ssh):
    python = ssh.parent / "bin" / "python3"
    python.write_text(f'#!/bin/sh\n{shlex.quote(sys.executable)} "$@" && rm outputs\n')
    with pytest.raises(ToolError, match="mendel@board did not return outputs") as caught:
        CoralDevice.ssh(model, "mendel@board", CPU).run(samples)
    assert "No such file" in caught.value.details[0]


HEAD = {"edgebuild": 1, "runtime": "r", "version": "1", "outputs": [10], "edgetpu": True}
TAIL = {"done": True, "times_ns": [5, 6, 7], "temperature_mc": [41000, 43500]}


class Answering(LocalTransport):
    """A transport whose runner answers what the test says."""

    def __init__(self, lines, outputs=b"\0" * 50):
        super().__init__()
        self.lines, self.outputs = lines, outputs

    def python(self, arguments, *, timeout_s):
        (self._place() / "outputs").write_bytes(self.outputs)
        return Finished(0, "\n".join(self.lines).encode(), "")


def answer(head=HEAD, tail=TAIL):
    return [json.dumps(head), "noise of a library", json.dumps(tail)]


def test_an_answer_of_the_edge_tpu(model, samples):
    options = RunnerOptions(runs=3)
    measured = run_model(model, samples, Answering(answer()), options)
    assert measured.edgetpu
    assert measured.temperatures_c == (41.0, 43.5)
    assert coral_figures(measured, "b")["Edge TPU temperature, after"].value == 43.5


@pytest.mark.parametrize(
    ("lines", "outputs", "words"),
    [
        (answer()[:1], b"\0" * 50, "answer is incomplete"),
        (["{" * 5000, "\x00"], b"", "answer is incomplete"),
        (["[" * 200_000], b"", "answer is incomplete"),
        (answer({**HEAD, "edgetpu": False}), b"\0" * 50, "Edge TPU did not run the model"),
        (answer({**HEAD, "outputs": [-1]}), b"\0" * 50, "sizes of outputs are not valid"),
        (answer({**HEAD, "outputs": "x"}), b"\0" * 50, "sizes of outputs are not valid"),
        (answer(tail={**TAIL, "times_ns": [5, True, 7]}), b"\0" * 50, "times are not valid"),
        (answer(tail={**TAIL, "times_ns": [5]}), b"\0" * 50, "1 times for 3 runs"),
        (answer(), b"\0" * 49, "49 bytes of outputs"),
        (answer(), b"\0" * 51, "outputs is larger than the 50 B"),
    ],
)
def test_garbage_is_refused(model, samples, lines, outputs, words):
    with pytest.raises(ToolError, match=words):
        run_model(model, samples, Answering(lines, outputs), RunnerOptions(runs=3))


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "", "h;reboot"])
def test_bad_hosts_are_refused(host):
    with pytest.raises(InputError):
        SshTransport(host)


def test_a_python_that_is_not_there(model, samples):
    with pytest.raises(ToolError, match="nopython is not installed"):
        CoralDevice(model, LocalTransport("nopython"), CPU).run(samples)


@pytest.mark.parametrize("options", [{"runs": 0}, {"device": "gpu"}, {"limit_s": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(InputError):
        RunnerOptions(**options)


def test_the_runner_is_python_3_7():
    """No syntax that the board's Python does not have."""
    import ast

    text = (resource_dir("firmware") / "coral" / RUNNER).read_text()
    ast.parse(text, feature_version=(3, 7))
    compile(text, RUNNER, "exec")


def test_the_runner_says_how_it_is_used():
    path = resource_dir("firmware") / "coral" / RUNNER
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--model" in done.stderr


def test_options_of_ssh_are_shared():
    assert "BatchMode=yes" in transports._options()
