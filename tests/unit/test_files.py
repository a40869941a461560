import errno
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edgebuild import files
from edgebuild.errors import Exit, InputError, ToolError
from edgebuild.files import (
    atomic_write,
    directory_lock,
    explain_os_error,
    explained,
    staged_directory,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_atomic_write_creates_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.txt"
    atomic_write(path, "one")
    path.chmod(0o640)
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(path.parent) == ["b.txt"]


def test_a_new_file_gets_the_mode_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "x", "")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_previous_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    atomic_write(path, "old")

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ToolError, match=f"no space left on the disk for {path}") as error:
        atomic_write(path, "new")
    assert error.value.exit_code == Exit.TOOL_FAILED
    assert "free some space" in error.value.hint
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ENOSPC, ToolError, "no space left on the disk for f"),
        (errno.EROFS, InputError, "f is on a read-only file system"),
        (errno.EACCES, InputError, "no permission to write f"),
        (errno.ENOTDIR, InputError, "f: not a directory"),
        (errno.ENAMETOOLONG, InputError, "f: file name too long"),
        (errno.EMFILE, ToolError, "f: too many open files"),
    ],
)
def test_system_errors_are_explained(code, kind, words):
    with pytest.raises(kind, match=words) as error, explained("f"):
        raise OSError(code, os.strerror(code))
    assert error.value.hint


def test_the_path_of_the_system_is_used_without_another():
    error = OSError(errno.EROFS, "Read-only file system", "/somewhere/x")
    explanation = explain_os_error(error)
    assert explanation is not None and "/somewhere/x is on" in explanation.message


def test_other_system_errors_pass():
    assert explain_os_error(OSError(errno.ECONNRESET, "reset")) is None
    with pytest.raises(ConnectionResetError), explained("f"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_staging_appears_whole(tmp_path):
    final = tmp_path / "deep" / "out"
    with staged_directory(final) as folder:
        (folder / "build.lock").write_text("1")
        assert not final.exists()
    assert (final / "build.lock").read_text() == "1"
    assert names(final.parent) == ["out"]


def test_staging_replaces_all_of_the_previous_output(tmp_path):
    final = tmp_path / "out"
    for text in ("1", "2"):
        with staged_directory(final) as folder:
            (folder / "build.lock").write_text(text)
            (folder / f"only-{text}").touch()
    assert names(final) == ["build.lock", "only-2"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_any_exception_keeps_the_previous_output(tmp_path, error):
    final = tmp_path / "out"
    with staged_directory(final) as folder:
        (folder / "build.lock").write_text("good")
    with pytest.raises(error), staged_directory(final) as folder:
        (folder / "half").write_text("half")
        raise error
    assert names(final) == ["build.lock"]
    assert names(tmp_path) == ["out"]


def test_a_full_disk_inside_the_block_is_explained(tmp_path):
    with pytest.raises(ToolError, match="no space left"), staged_directory(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device", "x")
    assert names(tmp_path) == []


def test_files_of_others_are_never_replaced(tmp_path):
    final = tmp_path / "home"
    final.mkdir()
    (final / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(InputError, match="contains files that edgebuild did not make"),
        staged_directory(final),
    ):
        pytest.fail("the block must not begin")
    assert (final / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_may_be_replaced(tmp_path):
    with staged_directory(tmp_path / "out") as folder:
        (folder / "x").touch()
    (tmp_path / "out" / "x").unlink()
    with staged_directory(tmp_path / "out") as folder:
        (folder / "y").touch()
    assert names(tmp_path / "out") == ["y"]


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "out").touch()
    with (
        pytest.raises(InputError, match="is a file, not a folder"),
        staged_directory(tmp_path / "out"),
    ):
        pass


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with staged_directory(tmp_path / "link") as folder:
        (folder / "build.lock").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["build.lock"]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    (tmp_path / ".out.staging").mkdir()
    (tmp_path / ".out.staging" / "half").touch()
    (tmp_path / ".out.lock").touch()
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "build.lock").write_text("previous")
    with pytest.raises(ValueError), staged_directory(tmp_path / "out") as folder:
        assert names(folder) == []
        raise ValueError
    assert (tmp_path / "out" / "build.lock").read_text() == "previous"
    assert names(tmp_path) == ["out"]


def test_when_the_rename_fails_the_previous_output_comes_back(tmp_path, monkeypatch):
    final = tmp_path / "out"
    with staged_directory(final) as folder:
        (folder / "build.lock").write_text("good")
    real = type(final).rename

    def rename(self, target):
        if self.name == ".out.staging":
            raise OSError(errno.EACCES, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(type(final), "rename", rename)
    with pytest.raises(InputError, match="no permission"), staged_directory(final):
        pass
    assert (final / "build.lock").read_text() == "good"
    assert names(tmp_path) == ["out"]


def test_a_second_build_into_the_same_folder_is_refused(tmp_path):
    final = tmp_path / "out"
    with staged_directory(final) as folder:
        (folder / "build.lock").write_text("first")
        with (
            pytest.raises(ToolError, match=f"another edgebuild is writing {final}") as error,
            staged_directory(final),
        ):
            pass
        assert error.value.hint.startswith("wait until it has finished")
    assert (final / "build.lock").read_text() == "first"
    assert names(tmp_path) == ["out"]


def _add_one(path, times):
    for _ in range(times):
        with directory_lock(path, wait_s=30):
            counter = path.with_suffix(".count")
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


def test_the_lock_excludes_across_processes(tmp_path):
    path = tmp_path / "out"
    path.with_suffix(".count").write_text("0")
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = [context.Process(target=_add_one, args=(path, 15)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert path.with_suffix(".count").read_text() == "45"
    assert names(tmp_path) == ["out.count"]


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from edgebuild.files import staged_directory\n"
        "with staged_directory(pathlib.Path(sys.argv[1])) as f:\n"
        "    (f / 'half').touch()\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")])
    assert done.returncode == 9
    assert ".out.staging" in names(tmp_path)
    with staged_directory(tmp_path / "out") as folder:
        (folder / "build.lock").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["build.lock"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="no permission"), staged_directory(tmp_path / "out"):
            pass
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("role", ["lock", "staging", "old"])
@pytest.mark.parametrize("make", ["file", "folder", "dangling", "self"])
def test_links_at_our_names_are_neither_followed_nor_a_crash(tmp_path, role, make):
    theirs = tmp_path / "theirs"
    if make == "file":
        theirs.write_text("precious")
    elif make == "folder":
        theirs.mkdir()
        (theirs / "kept").write_text("precious")
    link = tmp_path / f".out.{role}"
    link.symlink_to(link.name if make == "self" else theirs)
    try:
        with staged_directory(tmp_path / "out") as folder:
            (folder / "build.lock").write_text("new")
    except InputError as error:
        assert role == "lock"
        assert "is a symbolic link, not a lock file" in error.message
        assert not (tmp_path / "out").exists()
    else:
        assert (tmp_path / "out" / "build.lock").read_text() == "new"
        assert not link.is_symlink()
    if make == "file":
        assert theirs.read_text() == "precious"
    elif make == "folder":
        assert (theirs / "kept").read_text() == "precious"
    else:
        assert not theirs.exists()


@pytest.mark.parametrize(("make", "message"), [(os.mkfifo, "not a lock"), (os.mkdir, "a folder")])
def test_a_lock_that_is_no_file(tmp_path, make, message):
    make(tmp_path / ".out.lock")
    with pytest.raises(InputError, match=message), staged_directory(tmp_path / "out"):
        pass


OWNER = """
import os, signal
from edgebuild.files import TemporaryFolder
folders = [TemporaryFolder("test") for _ in range(2)]
print(*(f.path for f in folders), flush=True)
signal.pause()
"""


def test_folders_of_killed_runs_are_collected_and_no_others(tmp_path, monkeypatch):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(files, "_YOUNG_S", -1.0)
    others = [tmp_path / name for name in ("edgebuild-no-owner", "another-program", "edgebuild-x")]
    for other in others:
        other.mkdir()
    (others[1] / ".owner").write_text("")
    (others[2] / ".owner").symlink_to(tmp_path / "another-program" / ".owner")
    (tmp_path / "edgebuild-link").symlink_to(others[1])
    owners = [
        subprocess.Popen([sys.executable, "-c", OWNER], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        dead, living = ([Path(p) for p in o.stdout.readline().split()] for o in owners)
        owners[0].kill()
        owners[0].wait()
        assert all(p.is_dir() for p in (*dead, *living))
        files.collect_abandoned.cache_clear()
        with files.TemporaryFolder("mine") as mine:
            files.collect_abandoned.cache_clear()
            files.collect_abandoned()
            assert mine.is_dir()
        assert not mine.exists()
        assert not any(p.exists() for p in dead)
        assert all(p.is_dir() for p in (*living, *others))
    finally:
        for owner in owners:
            owner.kill()
            owner.wait()
            owner.stdout.close()


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "out").write_text("x")
    for final in (tmp_path / "out" / "net", tmp_path / "out" / "deep" / "net"):
        with (
            pytest.raises(InputError, match=f"{tmp_path}/out is a file, not a folder") as error,
            staged_directory(final),
        ):
            pass
        assert "--out" in error.value.hint


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_made_is_named():
    with (
        pytest.raises(InputError, match="cannot create /proc/x: the file system of /proc") as error,
        staged_directory(Path("/proc/x/net")),
    ):
        pass
    assert "--out" in error.value.hint


def test_a_file_that_may_not_be_read_gets_the_command_that_changes_it(tmp_path, monkeypatch):
    path = tmp_path / "net.keras"
    path.write_text("x")
    monkeypatch.setattr("os.access", lambda *_: False)  # as for everybody but root
    found = explain_os_error(PermissionError(errno.EACCES, "Permission denied"), path)
    assert found.message == f"{path}: no permission to read it"
    assert found.hint == f"make it readable: chmod u+r {path}"


def test_links_that_lead_in_a_circle_are_told(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    with (
        pytest.raises(InputError, match="circle/build: too many levels of symbolic links"),
        staged_directory(tmp_path / "circle" / "build"),
    ):
        pass
