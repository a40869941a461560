"""Files and folders that appear whole or not at all.

Everything is written aside, on the same file system, and then renamed. A full disk, a read-only
folder and a missing permission become an EdgebuildError that says what to try.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from edgebuild.errors import CHECK_PATH, EdgebuildError, InputError, ToolError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM}
_BAD_PATH = {
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR),
    *(errno.ELOOP, errno.ENOENT, errno.EEXIST),
}
_MACHINE = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.ENOMEM}
_PREFIX, _OWNER, _YOUNG_S = "edgebuild-", ".owner", 10.0
_ELSEWHERE = "choose another folder with --out"


def explain_os_error(error: OSError, path: Path | str | None = None) -> EdgebuildError | None:
    """Return the explanation of a failed file operation, or None when it is not a known one.

    ``path`` is named in the message; by default the path that the system reported.
    """
    where = str(path or error.filename or "a file")
    code = error.errno
    if code in _FULL:
        return ToolError(
            f"no space left on the disk for {where}",
            hint="free some space, or choose a folder on another disk with --out "
            "(EDGEBUILD_CACHE_DIR moves the cache, TMPDIR the temporary files)",
        )
    if code == errno.EROFS:
        return InputError(f"{where} is on a read-only file system", hint=_ELSEWHERE)
    if code in _DENIED:
        return _denied(Path(where))
    reason = (error.strerror or str(error)).lower()
    if code in _BAD_PATH:
        return InputError(f"{where}: {reason}", hint=CHECK_PATH)
    if code in _MACHINE:
        return ToolError(f"{where}: {reason}", hint="a problem of this computer: try again")
    return None


def _denied(path: Path) -> InputError:
    """Return the error for a file that may not be read, or a place where nothing may be written."""
    if path.is_file() and not os.access(path, os.R_OK):
        return InputError(
            f"{path}: no permission to read it", hint=f"make it readable: chmod u+r {path}"
        )
    return InputError(
        f"no permission to write {path}", hint=f"change its permissions, or {_ELSEWHERE}"
    )


def _make_folder(path: Path) -> None:
    """Make a folder and those above it; InputError that names the one which cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        above = next((p for p in (path, *path.parents) if p.exists()), path)
        if above.exists() and not above.is_dir():
            raise InputError(f"{above} is a file, not a folder", hint=_ELSEWHERE) from error
        if error.errno in _BAD_PATH | _DENIED:
            reason = (error.strerror or str(error)).lower()
            if error.errno == errno.ENOENT:  # of a folder that is there: of a file system's own
                reason = f"the file system of {above} does not allow it"
            raise InputError(f"cannot create {path}: {reason}", hint=_ELSEWHERE) from error
        raise


@contextmanager
def explained(path: Path | str | None = None) -> Iterator[None]:
    """Turn an OSError inside the block into its explanation, where there is one."""
    try:
        yield
    except OSError as error:
        explanation = explain_os_error(error, path)
        if explanation is None:
            raise
        raise explanation from error


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write ``path`` whole or not at all; a previous file stays until the new one is complete."""
    data = content.encode() if isinstance(content, str) else content
    with explained(path):
        _make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.chmod(_file_mode(path))
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def resolved(path: Path) -> Path:
    """Return the absolute ``path`` without links; InputError where they lead in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # which of the two depends on Python's version
        raise InputError(f"{path}: {os.strerror(errno.ELOOP).lower()}", hint=CHECK_PATH) from error


@contextmanager
def staged_directory(
    final: Path, *, marker: str = "build.lock", wait_s: float = 0.0
) -> Iterator[Path]:
    """Yield an empty folder beside ``final`` that takes its place when the block ends well.

    When the block raises, the folder is removed and what ``final`` held stays. Only one process at
    a time may stage the same ``final``; another waits ``wait_s`` seconds for it and then gives up
    with ToolError. A ``final`` that holds files but no ``marker`` was not made by edgebuild: it is
    never replaced, and InputError is raised before anything is written.
    """
    with explained(final):
        final = resolved(final)
        _refuse_foreign(final, marker)
        _make_folder(final.parent)
    with directory_lock(final, wait_s=wait_s):
        staging, old = _beside(final, "staging"), _beside(final, "old")
        try:
            with explained(final):
                _recover(final, staging, old)
                staging.mkdir()
            with explained():
                yield staging
            with explained(final):
                _refuse_foreign(final, marker)
                _swap(final, staging, old)
        finally:
            with suppress(OSError):
                remove(staging)
            if final.exists():
                with suppress(OSError):
                    remove(old)


@contextmanager
def directory_lock(final: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of folder ``final``. The system frees it when the process ends, however."""
    path = _beside(final, "lock")
    deadline = time.monotonic() + wait_s
    while True:
        with explained(path):
            handle = _open_lock(path)
        if _try_lock(handle) and _same_file(handle, path):
            break
        os.close(handle)
        if time.monotonic() >= deadline:
            raise ToolError(
                f"another edgebuild is writing {final}",
                hint="wait until it has finished, or choose another folder with --out",
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        # Unlinked before it is released: a waiter sees the change in _same_file and starts again.
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _open_lock(path: Path) -> int:
    """Open or create a lock file; InputError for what is none: it is not followed, or written."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
    hint = "remove it, or choose another folder with --out"
    try:
        handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        if path.is_symlink():
            raise InputError(f"{path} is a symbolic link, not a lock file", hint=hint) from error
        if error.errno == errno.EISDIR:
            raise InputError(f"{path} is a folder, not a lock file", hint=hint) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path} is not a lock file", hint=hint)
    return handle


def remove(path: Path) -> None:
    """Remove a file, a link (not what it leads to) or a folder with all in it; None is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refuse_foreign(final: Path, marker: str) -> None:
    if final.is_dir():
        if any(final.iterdir()) and not (final / marker).exists():
            raise InputError(
                f"{final} contains files that edgebuild did not make, and a build replaces the "
                "whole folder",
                hint="choose a new or an empty folder",
            )
    elif final.exists():
        raise InputError(f"{final} is a file, not a folder", hint=_ELSEWHERE)


def _beside(final: Path, role: str) -> Path:
    return final.parent / f".{final.name}.{role}"


def _recover(final: Path, staging: Path, old: Path) -> None:
    """Clear what a killed process left, and put back the output that it had moved away."""
    if old.is_dir() and not old.is_symlink() and not final.exists():
        old.rename(final)
    for leftover in (staging, old):
        remove(leftover)


def _swap(final: Path, staging: Path, old: Path) -> None:
    moved = final.exists()
    if moved:
        final.rename(old)
    try:
        staging.rename(final)
    except BaseException:
        if moved:
            old.rename(final)
        raise


class TemporaryFolder:
    """A temporary folder, removed when it is closed, or by the next run when this one is killed.

    A locked file in it says that its owner lives: the system frees the lock however that ends.
    ``role`` is a part of its name.
    """

    def __init__(self, role: str) -> None:
        collect_abandoned()
        with explained(tempfile.gettempdir()):
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{role}-"))
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(self.path / _OWNER, flags, 0o600)
        _try_lock(handle)
        self._finalizer = weakref.finalize(self, _discard, self.path, handle)

    def close(self) -> None:
        """Remove the folder, as far as the system lets it."""
        self._finalizer()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def _discard(path: Path, handle: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        os.close(handle)


@cache
def collect_abandoned() -> None:
    """Remove the temporary folders of this user's runs that were killed."""
    with suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if entry.name.startswith(_PREFIX) and _is_abandoned(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Return whether ``folder`` is ours, has an owner's file, and nobody holds that."""
    owner = folder / _OWNER
    try:
        facts, mark = folder.lstat(), owner.lstat()
        if not (stat.S_ISDIR(facts.st_mode) and stat.S_ISREG(mark.st_mode)):
            return False
        ours = {facts.st_uid, mark.st_uid} == {os.geteuid()}
        # One that was just made may not be locked yet.
        if not ours or time.time() - mark.st_mtime < _YOUNG_S:
            return False
        handle = os.open(owner, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except (OSError, AttributeError):  # Windows has no user numbers
        return False
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


def _file_mode(path: Path) -> int:
    """Return the mode of the file to be replaced, or what the umask gives to a new one."""
    with suppress(OSError):
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _try_lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(handle: int, path: Path) -> bool:
    """Return whether ``path`` still is the file that was opened."""
    try:
        ours, named = os.fstat(handle), path.lstat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
