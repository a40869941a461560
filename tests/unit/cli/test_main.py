import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from edgebuild.cli import main as cli_main
from edgebuild.cli.main import COMMANDS, cli, run
from edgebuild.errors import CheckFailedError, InputError, InternalError, ToolError
from edgebuild.versions import JSON_SCHEMA

ON_LINUX = sys.platform == "linux"


@pytest.fixture
def failing(monkeypatch, tmp_path):
    """Give the command line a command ``boom`` that raises what it is told."""

    def install(action):
        @click.command()
        @click.option("--json", "as_json", is_flag=True)
        def command(as_json):
            return action()

        module = type(sys)("edgebuild_boom")
        module.command = command
        monkeypatch.setitem(sys.modules, "edgebuild_boom", module)
        monkeypatch.setitem(COMMANDS, "boom", ("edgebuild_boom", "Fail."))
        monkeypatch.setattr("platformdirs.user_log_path", lambda _: tmp_path / "log")

    def raising(error):
        def action():
            raise error

        install(action)

    raising.action = install
    return raising


def test_help_lists_every_command(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert f"  {name}" in out and text in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name, capsys):
    def leaves(command):
        return (
            [leaf for c in command.commands.values() for leaf in leaves(c)]
            if isinstance(command, click.Group)
            else [command]
        )

    command = cli.get_command(click.Context(cli), name)
    for leaf in leaves(command):
        assert any("--json" in parameter.opts for parameter in leaf.params), leaf.name
        assert leaf.help
    assert run([name, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "edgebuild 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tragets"], "'tragets' is not a command; did you mean 'targets'?"),
        (["xyzzy"], "'xyzzy' is not a command; commands: "),
        (["tragets", "list"], "'targets'?\ntry: edgebuild targets list\n"),
        (
            ["targets", "list", "--jsn"],
            "no such option '--jsn'; did you mean '--json'?\ntry: edgebuild targets list --json\n",
        ),
        (
            ["check", "a.keras", "b c.keras"],
            "only one model per command (also given: b c.keras)\n"
            "try: run edgebuild check once for each model",
        ),
        (["completion", "csh"], "'csh' is not one of 'bash', 'zsh', 'fish'"),
        (["targets", "show"], "missing argument 'TARGET'"),
        (["--nope"], "no such option '--nope'"),
        (["build", "net.keras", "--target"], "--target needs a value after it\ntry: --target cor"),
        (["build", "net.keras", "-t"], "-t needs a value after it\ntry: --target cortex-m4"),
        (
            ["build", "net.keras", "--seed"],
            "--seed needs a value after it\ntry: `edgebuild build --",
        ),
        (["build", "net.keras", "--class-names"], "'--class-names'\ntry: put the names"),
        (["build", "net.keras", "--xyzzy"], "'--xyzzy'\ntry: run `edgebuild build --help`"),
        ([], "which command?"),
    ],
)
def test_usage_errors_exit_2(arguments, words, capsys):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_an_error_prints_message_details_and_hint(failing, capsys):
    failing(InputError("it is wrong", details=["a line", "another"], hint="do it right"))
    assert run(["boom"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: it is wrong\n  a line\n  another\ntry: do it right\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckFailedError("x"), 1),
        (InputError("x"), 2),
        (ToolError("x"), 3),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (MemoryError(), 3),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 3),
        (OSError(errno.EROFS, "Read-only file system", "f"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 2),
        (click.FileError("f", "no"), 2),
        (InternalError("broken rule"), 70),
        (ZeroDivisionError("division"), 70),
        (RecursionError("deep"), 70),
    ],
)
def test_exit_codes(failing, capsys, error, code):
    failing(error)
    assert run(["boom"]) == code
    captured = capsys.readouterr()
    assert captured.err.strip().startswith("error: ") and captured.out == ""
    assert "Traceback" not in captured.err

    assert run(["boom", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err.strip() == ""
    assert json.loads(captured.out)["error"]["exit_code"] == code


def test_json_errors_have_all_parts(failing, capsys):
    failing(InputError("it is wrong", details=["a line"], hint="do it right"))
    run(["boom", "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "schema": JSON_SCHEMA,
        "error": {
            "message": "it is wrong",
            "details": ["a line"],
            "hint": "do it right",
            "exit_code": 2,
        },
    }


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_command_may_return_its_exit_code(failing, code):
    failing.action(lambda: code)
    assert run(["boom"]) == code


def test_a_command_may_exit_through_click(failing):
    failing(click.exceptions.Exit(1))
    assert run(["boom"]) == 1


def test_a_bug_leaves_a_log_to_paste(failing, capsys, tmp_path):
    failing(ZeroDivisionError("division by zero"))
    assert run(["boom"]) == 70
    err = capsys.readouterr().err
    assert "a bug in edgebuild: ZeroDivisionError: division by zero" in err
    (log,) = (tmp_path / "log").iterdir()
    assert f"try: report it, with {log}" in err
    text = log.read_text()
    assert "arguments: ['boom']" in text and "Traceback" in text and "edgebuild 0.1.0" in text


def test_a_bug_is_reported_even_where_no_log_can_be_written(failing, capsys, monkeypatch, tmp_path):
    (tmp_path / "log").touch()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "log" / "no"))
    failing(ZeroDivisionError("division by zero"))
    assert run(["boom"]) == 70
    assert "try: report it, with the command" in capsys.readouterr().err


def test_control_characters_never_reach_the_terminal(failing, capsys):
    failing(InputError("bad name \x1b[2J\x07", details=["\x1b]0;x"], hint="\r"))
    run(["boom"])
    err = capsys.readouterr().err
    assert all(c.isprintable() or c == "\n" for c in err)
    assert r"\x1b[2J" in err


def test_a_module_without_command_is_our_bug(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("platformdirs.user_log_path", lambda _: tmp_path)
    monkeypatch.setitem(COMMANDS, "boom", ("edgebuild.units", "Nothing."))
    assert run(["boom"]) == 70
    assert "edgebuild.units has no click command" in capsys.readouterr().err


def test_main_ends_with_the_exit_code(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["edgebuild", "nope"])
    try:
        with pytest.raises(SystemExit) as error:
            cli_main.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert error.value.code == 2


def edgebuild(*arguments, **options):
    command = [sys.executable, "-m", "edgebuild", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_the_output():
    with Path("/dev/full").open("w") as full:
        done = edgebuild("targets", "list", "--json", stdout=full)
    assert done.returncode == 3
    assert "no space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.skipif(not ON_LINUX, reason="pipes of Linux")
def test_a_closed_pipe_is_silent():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = edgebuild("targets", "list", "--json", stdout=pipe)
    assert (done.returncode, done.stderr) == (141, "")


SLOW_BUILD = """
import sys, time, types, pathlib, click
from edgebuild.cli import main
from edgebuild.files import staged_directory

@click.command()
def command():
    with staged_directory(pathlib.Path(sys.argv[2])) as folder:
        (folder / "half").touch()
        print("begun", flush=True)
        time.sleep(60)

module = types.ModuleType("slow")
module.command = command
sys.modules["slow"] = module
main.COMMANDS["slow"] = ("slow", "Slow.")
sys.argv = ["edgebuild", "slow", sys.argv[1]]
main.main()
"""


@pytest.mark.skipif(not ON_LINUX, reason="signals of Linux")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_half_written_output(tmp_path, number, code):
    script = SLOW_BUILD.replace("sys.argv[2]", repr(str(tmp_path / "out"))).replace(
        ", sys.argv[1]]", "]"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in err
    assert ("interrupted" in err) == (number == signal.SIGINT)
    assert list(tmp_path.iterdir()) == []
