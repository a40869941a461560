"""What the cache gives back, and what it removes."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from edgebuild.cli.main import run
from edgebuild.errors import InputError
from edgebuild.files import explain_os_error
from edgebuild.kept import read_kept, write_kept
from edgebuild.toolchain import cache as cache_module
from edgebuild.toolchain.cache import (
    KINDS,
    ObjectCache,
    cache_key,
    cache_limit,
    entries,
    read_only_note,
    trim,
)

KEY, OTHER = cache_key(["a"]), cache_key(["b"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def place(cache, key):
    return cache.folder / key[:2] / key[2:]


def test_an_entry_under_another_key_is_no_hit(folder):
    """The firmware would have another model's weights."""
    cache = ObjectCache.default()
    cache.put(KEY, b"weights of a")
    place(cache, OTHER).parent.mkdir(exist_ok=True)
    shutil.copy(place(cache, KEY), place(cache, OTHER))
    assert cache.get(OTHER) is None
    cache.put(OTHER, b"weights of b")
    assert (cache.get(KEY), cache.get(OTHER)) == (b"weights of a", b"weights of b")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
        lambda path: (path.unlink(), path.mkdir(), (path / "x").write_text("")),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda path: (path.unlink(), path.symlink_to(path.name)),
        lambda path: (shutil.rmtree(path.parent), path.parent.write_text("a file")),
        lambda path: (shutil.rmtree(path.parent), path.parent.symlink_to("nowhere")),
        lambda path: (shutil.rmtree(path.parents[1]), path.parents[1].write_text("a file")),
    ],
)
def test_what_is_damaged_or_misplaced_is_a_miss_and_is_repaired(folder, damage):
    cache = ObjectCache.default()
    cache.put(KEY, b"content")
    damage(place(cache, KEY))
    assert cache.get(KEY) is None
    cache.put(KEY, b"content")
    assert cache.get(KEY) == b"content"


def test_a_kept_state_of_another_run_is_not_taken(tmp_path):
    assert write_kept(tmp_path / "a.npz", "a", b"state")
    shutil.copy(tmp_path / "a.npz", tmp_path / "b.npz")
    assert read_kept(tmp_path / "a.npz", "a") == b"state"
    assert read_kept(tmp_path / "b.npz", "b") is None


def aged(kind, name, size, hours):
    path = cache_module.cache_dir() / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    for one in (path, path.parent):
        os.utime(one, (time.time() - 3600 * hours,) * 2)
    return path


def test_what_was_used_least_recently_goes_first(folder):
    old, older = aged("objects", "aa/1", 1000, 5), aged("logs", "x.log", 1000, 9)
    state, new = aged("training", "1/a.npz", 1000, 7), aged("objects", "aa/2", 1000, 0)
    zig = aged("zig", "o/1", 10_000, 99)
    size = sum(e.size for kind in ("objects", "logs", "training") for e in entries(kind))
    assert trim(size) == 0
    assert trim(size - 1500) > 1500
    assert [p.exists() for p in (older, state, old, new, zig)] == [False, False, True, True, True]
    trim(0)  # what was used just now stays
    assert [p.exists() for p in (old, new, zig)] == [False, True, True]


def test_a_hit_counts_as_use(folder):
    cache = ObjectCache.default()
    for key in (KEY, OTHER):
        cache.put(key, bytes(1000))
        os.utime(place(cache, key), (1, 1))
    assert cache.get(KEY) is not None
    trim(1500)
    assert (cache.get(KEY) is None, cache.get(OTHER) is None) == (False, True)


def test_the_limit_is_a_setting(monkeypatch):
    assert cache_limit() == 4 << 30
    monkeypatch.setenv("EDGEBUILD_CACHE_LIMIT", "1GiB")
    assert cache_limit() == 1 << 30
    monkeypatch.setenv("EDGEBUILD_CACHE_LIMIT", "much")
    with pytest.raises(InputError, match="EDGEBUILD_CACHE_LIMIT: 'much' is not a size"):
        cache_limit()


def test_the_command_shows_and_clears(folder, capsys):
    aged("objects", "aa/1", 1000, 5)
    aged("objects", "aa/2", 1000, 0)
    aged("logs", "x.log", 500, 0)
    assert run(["cache", "info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["folder"], found["writable"]) == (str(folder), True)
    assert found["kinds"]["objects"] == {"bytes": 2000, "entries": 2}
    assert set(found["kinds"]) == set(KINDS)
    assert run(["cache", "info"]) == 0
    assert "limit 4 GiB (default)" in capsys.readouterr().out
    assert run(["cache", "clear", "--kind", "objects", "--unused-for", "2h"]) == 0
    assert "removed 1 entries, 1,000 B" in capsys.readouterr().out
    assert run(["cache", "clear"]) == 0
    assert [list(entries(kind)) for kind in KINDS] == [[]] * len(KINDS)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write")
def test_a_cache_that_cannot_be_written_says_so(monkeypatch):
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", "/proc/edgebuild")
    assert "the cache cannot be written (/proc" in read_only_note()
    cache = ObjectCache.default()
    cache.put(KEY, b"content")
    assert cache.get(KEY) is None
    assert explain_os_error(OSError(30, "x")) is not None
