import json
import os
import shutil
import subprocess
import sys
import zipfile

import click
import pytest

from edgebuild.cli import doctor_checks
from edgebuild.cli.console import progress, table
from edgebuild.cli.doctor_checks import Check, Status, check_packages, folder_size, within
from edgebuild.cli.main import run
from edgebuild.cli.ops import as_markdown
from edgebuild.cli.options import BadValue, budget_options, flag_budget, target_option
from edgebuild.errors import ToolError
from edgebuild.profile import CORES
from edgebuild.project import load_project
from edgebuild.resources import resource_dir
from edgebuild.targets import load_target, target_names
from edgebuild.versions import JSON_SCHEMA


@pytest.fixture
def edgebuild(capsys):
    """Run a command; return its exit code, output and errors."""

    def call(*arguments):
        code = run(list(map(str, arguments)))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def columns_fit(text):
    return max(map(len, text.splitlines())) <= 80


def test_targets_list(edgebuild):
    code, out, _ = edgebuild("targets", "list")
    assert code == 0 and columns_fit(out)
    first = {line.split()[0] for line in out.splitlines() if line}
    assert set(target_names()) <= first
    (row,) = (line for line in out.splitlines() if line.startswith("nucleo-l4r5zi"))
    assert row.split()[1:8] == ["cortex-m4", "120", "MHz", "2", "MiB", "640", "KiB"]


CHIP = ("--clock", "84MHz", "--flash", "256KiB", "--ram", "64KiB")


@pytest.mark.parametrize("core", CORES)
def test_the_profile_of_a_chip_of_ones_own(edgebuild, tmp_path, core):
    file = tmp_path / "My chip.toml"
    code, out, err = edgebuild("targets", "new", file, "--core", core, *CHIP)
    assert code == 0, err
    assert out.splitlines() == [f"wrote {file}", f"next: edgebuild build MODEL --target {file}"]
    profile = load_target(str(file))
    assert profile.name == "my-chip" and profile.cpu.core == core
    assert profile.cpu.clock_hz == 84_000_000
    assert (profile.flash.size_bytes, profile.ram.size_bytes) == (256 << 10, 64 << 10)
    assert profile.run.default in profile.run.kinds
    # A file that is there is not overwritten.
    before = file.read_bytes()
    code, _, err = edgebuild("targets", "new", file, "--core", core, *CHIP)
    assert code == 2 and "exists" in err and file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("chip", "--core", "cortex-m4", *CHIP), "chip does not end in .toml"),
        (("_.toml", "--core", "cortex-m4", *CHIP), "'_' may contain only"),
        (("a.toml", "--core", "cortex-m5", *CHIP), "'cortex-m5' is not one of"),
        (
            ("a.toml", "--core", "cortex-m4", "--clock", "84", *CHIP[2:]),
            "needs a unit of frequency",
        ),
        (("a.toml", "--core", "cortex-m4", "--clock", "0MHz", *CHIP[2:]), "is not a clock"),
        (("a.toml", "--core", "cortex-m4", *CHIP[:4], "--ram", "0"), "size"),
    ],
)
def test_profiles_that_are_not_written(edgebuild, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = edgebuild("targets", "new", *arguments)
    assert code == 2 and said in " ".join(err.split()) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("android-nnapi-29", ["nnapi", "29 or later", "arm64 with FPU, NEON"]),
        ("android-npu-google", ["google Tensor_G5"]),
        ("coral-usb", ["edgetpu"]),
    ],
)
def test_what_a_target_with_a_delegate_shows(edgebuild, target, shown):
    code, out, _ = edgebuild("targets", "show", target)
    assert code == 0 and columns_fit(out.replace(str(resource_dir("targets")), ""))
    for text in shown:
        assert text in out


def test_targets_list_json(edgebuild):
    code, out, _ = edgebuild("targets", "list", "--json")
    assert code == 0
    assert [target["name"] for target in json.loads(out)["targets"]] == list(target_names())


@pytest.mark.parametrize("name", target_names())
def test_targets_show(edgebuild, name):
    code, out, _ = edgebuild("targets", "show", name)
    assert code == 0
    assert out.startswith(f"{name}: ")
    assert load_target(name).sha256 in out.replace("\n", "")


def test_targets_show_says_what_counts(edgebuild):
    _, out, _ = edgebuild("targets", "show", "cortex-m4")
    for words in (
        "cortex-m4 with DSP, FPU",
        "25 MHz",
        "simulator (default), qemu, host",
        "mps2-an386",
        "modelled by 'cortex-m4'",
        "0x20000000  256 KiB",
    ):
        assert words in out


def test_targets_show_json(edgebuild):
    _, out, _ = edgebuild("targets", "show", "cortex-m4", "--json")
    shown = json.loads(out)
    assert shown.pop("sha256") == load_target("cortex-m4").sha256
    assert shown == {"schema": JSON_SCHEMA, **load_target("cortex-m4").to_json()}


def test_targets_show_of_an_unknown_one(edgebuild):
    code, out, err = edgebuild("targets", "show", "cortex-m4x")
    assert (code, out) == (2, "")
    assert "did you mean 'cortex-m4'?" in err


def test_targets_validate(edgebuild, tmp_path):
    assert edgebuild("targets", "validate")[:2] == (
        0,
        f"{len(target_names())} profiles are valid\n",
    )
    assert edgebuild("targets", "validate", "host")[:2] == (0, "1 profile is valid\n")
    bad = tmp_path / "bad.toml"
    bad.write_text('schema = 1\nname = "bad"\nbased_on = "cortex-m4"\ncpu.clock_mhz = 1\nx = 1\n')
    code, out, err = edgebuild("targets", "validate", "host", bad)
    assert (code, out) == (2, "")
    assert err.startswith("error: 2 errors\n")
    assert f"{bad}: cpu.clock_mhz is not a field; did you mean 'clock_hz' (in Hz, not MHz)?" in err
    code, out, err = edgebuild("targets", "validate", bad, "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["valid"] is False and len(json.loads(out)["targets"][str(bad)]) == 2


def test_targets_validate_one_fault(edgebuild, tmp_path):
    code, _, err = edgebuild("targets", "validate", tmp_path / "no.toml")
    assert code == 2 and err.startswith(f"error: {tmp_path}/no.toml: no such file")


def test_init_writes_a_file_that_loads(edgebuild, tmp_path):
    code, out, _ = edgebuild("init", tmp_path)
    assert code == 0 and f"wrote {tmp_path}/edgebuild.toml" in out
    project = load_project(tmp_path)
    assert (project.model, project.targets, project.toolchain) == (None, ("cortex-m4",), "auto")


def test_every_commented_setting_of_init_is_valid_too(edgebuild, tmp_path):
    edgebuild("init", tmp_path)
    file = tmp_path / "edgebuild.toml"
    lines = file.read_text().splitlines()
    live = [
        line[2:] if line.startswith("# [") or (line.startswith("# ") and " = " in line) else line
        for line in lines
    ]
    file.write_text("\n".join(live))
    project = load_project(tmp_path)
    assert project.model == tmp_path / "model.tflite"
    assert project.name == "my_model"
    assert project.budget.flash_bytes == 128 * 1024
    assert project.settings_for("cortex-m4").budget.ram_bytes == 32 * 1024


def test_init_fills_in_what_is_given(edgebuild, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'odd "näme" 😀.tflite'
    code, out, _ = edgebuild(
        "init",
        "--model",
        name,
        "--data",
        "my.data:load",
        "--target",
        "host",
        "--target",
        "cortex-m7",
    )
    assert code == 0 and "next: edgebuild build" in out
    project = load_project(tmp_path)
    assert (project.model, project.data) == (tmp_path / name, "my.data:load")
    assert project.targets == ("host", "cortex-m7")


def test_init_elsewhere_writes_paths_as_seen_from_there(edgebuild, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.tflite").touch()
    (tmp_path / "my.toml").write_text('schema = 1\nname = "my"\nbased_on = "cortex-m4"\n')
    assert edgebuild("init", "sub", "--model", "m.tflite", "--target", "./my.toml")[0] == 0
    project = load_project(tmp_path / "sub")
    assert project.model.resolve() == tmp_path / "m.tflite"
    assert load_target(project.targets[0]).name == "my"


def test_init_does_not_overwrite(edgebuild, tmp_path):
    (tmp_path / "edgebuild.toml").write_text("mine")
    code, _, err = edgebuild("init", tmp_path)
    assert code == 2
    assert err == f"error: {tmp_path}/edgebuild.toml exists\ntry: --force replaces it\n"
    assert (tmp_path / "edgebuild.toml").read_text() == "mine"
    assert edgebuild("init", tmp_path, "--force", "--json")[0] == 0
    assert load_project(tmp_path).targets == ("cortex-m4",)


def test_init_refuses_what_could_not_be_read_back(edgebuild, tmp_path):
    assert edgebuild("init", tmp_path, "--model", "a\nb")[0] == 2
    assert edgebuild("init", tmp_path, "--target", "nope")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_ops_list_is_made_of_the_constraints(edgebuild):
    from edgebuild.ops import OPS

    code, out, _ = edgebuild("ops", "list")
    assert code == 0 and columns_fit(out)
    listed = json.loads(edgebuild("ops", "list", "--json")[1])["operators"]
    assert listed == {kind: [c.sentence for c in OPS[kind].constraints] for kind in sorted(OPS)}
    for kind in OPS:
        assert f"{kind}\n" in out


def test_ops_markdown(edgebuild):
    class Limit:
        sentence = "a | b"

    class Op:
        kind = "CONV_2D"
        constraints = (Limit(), Limit())

    assert "| CONV_2D | a \\| b<br>a \\| b |\n" in as_markdown([Op()])
    assert edgebuild("ops", "list", "--markdown")[1].startswith("# Supported operators\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(edgebuild, shell):
    code, out, _ = edgebuild("completion", shell)
    assert code == 0 and f"_EDGEBUILD_COMPLETE={shell}_complete" in out
    assert json.loads(edgebuild("completion", shell, "--json")[1])["shell"] == shell


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_reads_the_script(edgebuild, tmp_path):
    script = tmp_path / "c.sh"
    script.write_text(edgebuild("completion", "bash")[1])
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "position", "expected"),
    [
        ("edgebuild tar", 1, ["targets"]),
        ("edgebuild targets show nuc", 3, ["nucleo-f446re", "nucleo-h743zi", "nucleo-l4r5zi"]),
        ("edgebuild init --target rpi", 3, ["rpi-pico", "rpi-pico2"]),
        ("edgebuild completion f", 2, ["fish"]),
    ],
)
def test_completion_completes(words, position, expected):
    environment = {
        **os.environ,
        "_EDGEBUILD_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(position),
    }
    command = [sys.executable, "-m", "edgebuild"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == expected


def test_budget_options():
    @click.command()
    @target_option()
    @budget_options
    def command(target, **limits):
        return flag_budget(**limits)

    budget = command.main(
        [
            "--max-flash",
            "128KiB",
            "--max-latency",
            "50ms",
            "--max-accuracy-drop",
            "1%",
            "--max-class-drop",
            "5%",
            "--max-error-increase",
            "150%",
        ],
        standalone_mode=False,
    )
    assert budget.to_json() == {
        "flash_bytes": 131_072,
        "ram_bytes": None,
        "latency_us": 50_000,
        "max_accuracy_drop": 0.01,
        "max_class_drop": 0.05,
        "max_error_increase": 1.5,
        "min_similarity": None,
    }
    assert set(budget.sources.values()) == {"the command line"}
    with pytest.raises(BadValue) as error:
        command.main(["--max-ram", "64KB"], standalone_mode=False)
    assert "did you mean '64KiB'?" in error.value.message and error.value.hint == "write 64KiB"
    with pytest.raises(BadValue, match="'64' has no unit"):
        command.main(["--max-ram", "64"], standalone_mode=False)


def test_doctor_here(edgebuild, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path))
    (tmp_path / "x").write_bytes(b"12345")
    code, out, _ = edgebuild("doctor", "--json")
    report = json.loads(out)
    assert (code == 0) == report["ready"]
    names = {check["name"] for check in report["checks"]}
    assert {"python", "numpy", "ziglang", "unicorn", "tensorflow", "tflite-micro"} <= names
    assert {"zig", "arm-none-eabi-gcc", "qemu-system-arm", "cache", "serial ports"} <= names
    assert all(check["remedy"] for check in report["checks"] if check["status"] == "problem")
    (cache,) = (check for check in report["checks"] if check["name"] == "cache")
    assert cache["found"] == f"{tmp_path}: 5 B in 1 files"


def test_doctor_text(edgebuild, monkeypatch):
    checks = [
        Check("packages", "numpy", Status.BAD, "1.0, needs >=2.0", "pip install 'numpy>=2.0'"),
        Check("tools", "gcc", Status.OPTIONAL, "for --toolchain gcc", "sudo apt-get install gcc"),
    ]
    monkeypatch.setattr("edgebuild.cli.doctor.all_checks", lambda: iter(checks))
    code, out, _ = edgebuild("doctor")
    assert code == 3 and columns_fit(out)
    assert "numpy: pip install 'numpy>=2.0'" in out
    assert "in the way: numpy\n" in out
    monkeypatch.setattr("edgebuild.cli.doctor.all_checks", lambda: iter(checks[1:]))
    code, out, _ = edgebuild("doctor")
    assert code == 0 and "ready\n" in out


def test_doctor_finds_missing_and_wrong_packages():
    requires = [
        "numpy>=99,<100",
        "no-such-package-of-ours>=1,<2",
        "click>=8",
        'x>1; extra == "dev"',
    ]
    numpy, absent, click_check = check_packages(requires)
    assert numpy.status is Status.BAD and numpy.found.endswith("needs >=99,<100")
    assert numpy.remedy == "pip install 'numpy>=99,<100'"
    assert (absent.status, absent.found) == (Status.BAD, "not installed")
    assert click_check.status is Status.GOOD


def test_doctor_without_optional_tools(monkeypatch):
    monkeypatch.setattr(doctor_checks.shutil, "which", lambda _: None)
    assert doctor_checks.check_gcc().status is Status.OPTIONAL
    assert "apt-get install gcc-arm-none-eabi" in doctor_checks.check_gcc().remedy
    (qemu,) = doctor_checks.check_qemu()
    assert qemu.status is Status.OPTIONAL
    monkeypatch.setattr(doctor_checks.sys, "platform", "darwin")
    assert doctor_checks.check_gcc().remedy == "brew install arm-gcc-bin"


def test_doctor_with_tools_that_do_not_start(monkeypatch):
    def broken(*_args, **_options):
        raise ToolError("no")

    monkeypatch.setattr(doctor_checks, "run_tool", broken)
    zig = doctor_checks.check_zig()
    assert (zig.status, zig.found) == (Status.BAD, "installed, but does not start")


def test_doctor_without_zig(monkeypatch):
    monkeypatch.setattr(doctor_checks.importlib.util, "find_spec", lambda _: None)
    zig = doctor_checks.check_zig()
    assert (zig.status, zig.found) == (Status.BAD, "not installed")
    assert "ziglang" in zig.remedy


def test_doctor_with_an_old_qemu(monkeypatch):
    monkeypatch.setattr(doctor_checks.shutil, "which", lambda name: name)
    monkeypatch.setattr(
        doctor_checks, "run_tool", lambda command, **_: "mps2-an385   a board\nQEMU 5.2"
    )
    _, machines = doctor_checks.check_qemu()
    assert machines.status is Status.OPTIONAL
    assert machines.found == "lacks mps2-an386, mps2-an500, mps2-an505, mps3-an547"


def test_doctor_with_another_python(monkeypatch):
    monkeypatch.setattr(doctor_checks.sys, "version_info", (3, 14, 0))
    check = doctor_checks.check_python()
    assert check.status is Status.BAD and "Python 3.11 or 3.12" in check.remedy


def test_doctor_without_room_or_permission(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path / "a" / "b"))
    monkeypatch.setattr(doctor_checks.os, "access", lambda *_: False)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda _: usage)
    cache, disk = doctor_checks.check_folders()
    assert cache.status is Status.BAD and "EDGEBUILD_CACHE_DIR" in cache.remedy
    assert disk.status is Status.BAD and disk.found == "1,000 B"


def test_folder_size(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"123")
    (tmp_path / "gone").symlink_to("nowhere")
    size, files = folder_size(tmp_path)
    assert files == 2 and size >= 3
    assert folder_size(tmp_path / "no") == (0, 0)


@pytest.mark.parametrize(
    ("version", "bounds", "good"),
    [
        ("2.3.0", ">=2.3,<2.4", True),
        ("2.4", ">=2.3,<2.4", False),
        ("2.2.9", ">=2.3,<2.4", False),
        ("0.dev20261023182759", "==0.dev20261023182759", True),
        ("1.0", "==1.0.0", True),
        ("1.0", "!=1.0,>0", False),
        ("1.0", "<=1.0", True),
        ("1.0", "", True),
    ],
)
def test_within(version, bounds, good):
    assert within(version, bounds) is good


def test_tables_escape_what_is_not_printable(capsys):
    table(("a", "b"), [("\x1b[31m", "[red]x")], styles=["bold"])
    out = capsys.readouterr().out
    assert r"\x1b[31m" in out and "[red]x" in out


def test_progress_is_silent_without_a_terminal(capsys):
    with progress("working"):
        pass
    assert capsys.readouterr() == ("", "")


def test_bench_looks_at_the_folder_first(edgebuild, tmp_path):
    code, _, err = edgebuild("bench", tmp_path)
    assert code == 2 and f"{tmp_path} is not a build folder: build.lock is missing" in err
    (tmp_path / "net-cortex-m4").mkdir()
    (tmp_path / "net-cortex-m4" / "build.lock").write_text("{}")
    assert (
        f"try: pass one of the builds in it: {tmp_path}/net-cortex-m4"
        in edgebuild("bench", tmp_path)[2]
    )
    assert ": no such folder" in edgebuild("bench", tmp_path / "nowhere")[2]
    lock = tmp_path / "net-cortex-m4" / "build.lock"
    assert "is a file, not a build folder" in edgebuild("bench", lock)[2]


def test_inspect_of_another_format_names_the_way(edgebuild, tmp_path):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    code, _, err = edgebuild("inspect", path)
    assert code == 2 and "inspect reads .tflite files, and this is a .keras file" in err
    assert f"`edgebuild check {path} --target cortex-m4`" in err


def test_the_current_folder_is_no_model(edgebuild, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.tflite").write_bytes(b"x")
    code, _, err = edgebuild("build", ".", "--target", "cortex-m4")
    assert code == 2 and "'.' is not a SavedModel" in err and "net.tflite" in err
