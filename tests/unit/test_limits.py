"""What may be opened, and how much may be asked for."""

import os
import re
import time
from pathlib import Path

import pytest

from edgebuild import limits
from edgebuild.errors import InputError, ModelError
from edgebuild.limits import (
    check_inference,
    check_results,
    files_below,
    in_words,
    open_file,
    read_file,
    read_json,
    read_model,
)

PACKAGE = Path(limits.__file__).parent


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "a", most=5) == b"12345"
    assert read_file(tmp_path / "link", most=5) == b"12345"


@pytest.mark.parametrize("reader", [read_model, read_json])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "not a regular file"),
        (lambda p: p.symlink_to("/dev/zero"), "not a regular file"),
        (lambda p: p.symlink_to("/dev/tty"), "not a regular file"),
        (lambda p: p.mkdir(), "is a folder, not a file"),
        (lambda p: p.symlink_to(p.name), "cannot be read: too many levels of symbolic links"),
        (lambda p: None, "no such file"),
        (lambda p: os.truncate(os.open(p, os.O_CREAT | os.O_WRONLY), 5 << 30), "larger than"),
    ],
)
def test_what_is_no_file_of_bounded_size(tmp_path, reader, make, message):
    make(tmp_path / "x")
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path))}/x: {message}"):
        reader(tmp_path / "x")


def test_a_name_that_is_no_path():
    with pytest.raises(ModelError, match="is not a path"):
        open_file(Path("a\0b"), most=1, error=ModelError)


def test_a_text_that_is_nested_too_deeply(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "x.json")


def test_files_below_a_folder(tmp_path):
    for name in ("b/2", "b/1", "a", "c.d/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "b" / "up").symlink_to("..")  # in a circle
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    os.mkfifo(tmp_path / "pipe")
    assert [name for name, _ in files_below(tmp_path)] == ["a", "b/1", "b/2", "c.d/x"]


def test_folders_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FOLDER_ENTRIES", 10)
    for number in range(11):
        (tmp_path / str(number)).write_text("")
    with pytest.raises(InputError, match="more than 10 files and folders"):
        list(files_below(tmp_path))
    monkeypatch.setattr(limits, "FOLDER_ENTRIES", 1000)
    (tmp_path / "/".join(["d"] * 70)).mkdir(parents=True)
    with pytest.raises(InputError, match="more than 64 folders deep"):
        list(files_below(tmp_path))


def test_what_one_inference_may_need():
    check_inference("m", 512 << 20)
    with pytest.raises(ModelError, match=r"m: one inference needs 536,870,913 B .* 512 MiB"):
        check_inference("m", (512 << 20) + 1)
    with pytest.raises(InputError, match="inputs and outputs of 8 inferences") as caught:
        check_inference("m", 0, samples=8, io_bytes=300 << 20)
    assert caught.value.hint == "--samples 3"


def test_what_the_outputs_of_a_data_set_may_need():
    check_results("d", 1000, 1000)
    with pytest.raises(InputError, match="outputs of 10,000 samples are") as caught:
        check_results("d", 10_000, 1_000_000)
    assert caught.value.hint == "pass at most 536 samples with --data"


def test_sizes_in_words():
    assert [in_words(n) for n in (5, 2048, 3 << 20, 1 << 30)] == ["5 B", "2 KiB", "3 MiB", "1 GiB"]


OWN_FILES = {
    # Files that edgebuild, its children or a compiler wrote in a folder of its own.
    *("backends", "code_size", "codegen", "cycles", "delegates", "devices", "toolchain"),
    *(
        "tflite/oracle",
        "tflite/oracle_child",
        "models/convert",
        "models/worker",
        "models/worker_child",
        "models/departures",
    ),
    *("compress/run", "compress/child", "compress/kept", "compress/ptq", "compress/training"),
    *("coral/transports", "pipeline/runners", "limits", "pipeline/plan", "models/tf_model"),
}


def test_every_reader_opens_files_in_one_way():
    """Files of users are opened with ``limits``."""
    opening = re.compile(r"\.read_bytes\(|\.read_text\(|\.open\(\"r|(?<![.\w])open\(")
    found = []
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if not any(name == own or name.startswith(f"{own}/") for own in OWN_FILES):
            found += [
                f"{name}: {line}" for line in path.read_text().split("\n") if opening.search(line)
            ]
    assert found == []


def test_many_operators_take_linear_time():
    """The planner looks at pairs of blocks; what is alive together must not cost their square."""
    from edgebuild.memory.placing import Block, place

    blocks = [Block(16, 0, 1) for _ in range(30_000)]
    start = time.process_time()
    offsets = place(blocks, lower_bound=16 * len(blocks))
    assert sorted(offsets) == [16 * i for i in range(30_000)]
    assert time.process_time() - start < 5


def test_the_arena_of_many_operators_takes_little_time():
    """TFLite Micro's planner compares every buffer with all before it."""
    from edgebuild.codegen.tflm_arena import Buffer, planned_bytes

    start = time.process_time()
    assert planned_bytes([Buffer(16, 0, 1)] * 20_000) == 16 * 20_000
    assert planned_bytes([Buffer(16, i, i + 1) for i in range(20_000)]) == 32
    assert time.process_time() - start < 20


def test_a_missing_file_gets_the_name_that_was_meant(tmp_path):
    for name in ("net.keras", "data.npz", "shipped.toml"):
        (tmp_path / name).write_bytes(b"x")

    def said(name):
        return limits.missing(tmp_path / name).removeprefix(f"{tmp_path / name}: ")

    assert said("nett.keras") == "no such file; did you mean 'net.keras'?"
    assert said("net.h5") == "no such file; did you mean 'net.keras'?"
    assert said("dat.npz") == "no such file; did you mean 'data.npz'?"
    assert said("my.toml") == "no such file"  # equal suffixes are no likeness
    assert said("nowhere/net.keras") == "no such file"


def test_a_missing_file_is_not_told_its_own_name(tmp_path):
    """A link that leads nowhere is there, under the name that was given."""
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    (tmp_path / "gone.npz").symlink_to("nowhere.npz")
    for name, message in (
        ("loop.npz", "too many levels of symbolic links"),
        ("gone.npz", "a symbolic link to 'nowhere.npz', where there is nothing"),
    ):
        assert limits.missing(tmp_path / name) == f"{tmp_path / name}: {message}"
    with pytest.raises(InputError, match=r"gone\.npz: a symbolic link to 'nowhere\.npz', where "):
        open_file(tmp_path / "gone.npz", most=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "not a regular file"),
        (lambda p: p.symlink_to("/dev/zero"), "not a regular file"),
        (lambda p: p.symlink_to(p.name), "too many levels of symbolic links"),
        (lambda p: p.symlink_to("nowhere"), "a symbolic link to 'nowhere', where there is nothing"),
    ],
)
def test_what_is_called_a_sample_but_is_no_file_is_not_passed_over(tmp_path, make, message):
    for name in ("b.PNG", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    make(tmp_path / "pipe.txt")
    found = [tmp_path / "a.png", tmp_path / "b.PNG"]
    assert limits.files_in(tmp_path, {".png"}) == found
    make(tmp_path / "c.png")
    with pytest.raises(InputError, match=rf"/c\.png: {re.escape(message)}"):
        limits.files_in(tmp_path, {".png"})
