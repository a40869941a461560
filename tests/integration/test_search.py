"""The search with everything real: TensorFlow, compiler, simulator, SQLite, Dask."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.errors import CheckFailedError
from edgebuild.pipeline import make_plan, run_plan
from edgebuild.pipeline.plan import BuildRequest
from edgebuild.search import Effort, SearchRequest, build_within_budget, search

pytestmark = pytest.mark.keras
keras = pytest.importorskip("keras", reason="needs TensorFlow")

LIMITS = Budget(flash_bytes=10_500, ram_bytes=1_100).named("the test")
EFFORT = Effort(trials=4, epochs=3, short_epochs=1, finalists=1)
EDGEBUILD = [sys.executable, "-m", "edgebuild"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small trained network and its data."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)[..., np.newaxis]
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(12, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(20, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x[:1300], digits.target[:1300], epochs=8, batch_size=32, verbose=0)
    model.save(folder / "net.keras")
    np.savez(folder / "train.npz", x=x[:1300], y=digits.target[:1300])
    np.savez(folder / "test.npz", x=x[1300:], y=digits.target[1300:])
    return folder


def request(folder, out, budget=LIMITS, **changes):
    build = BuildRequest(
        folder / "net.keras",
        "cortex-m4",
        data=str(folder / "test.npz"),
        train=str(folder / "train.npz"),
        budget=budget,
        out=out,
    )
    return SearchRequest(build, **{"effort": EFFORT, "jobs": 1, **changes})


def test_the_winner_is_built_again_byte_for_byte(folder, tmp_path):
    wanted = request(folder, tmp_path)
    report = build_within_budget(wanted)
    assert report.passed
    assert report.metrics.flash_bytes.value <= LIMITS.flash_bytes
    assert report.metrics.ram_bytes.value <= LIMITS.ram_bytes
    found = json.loads((tmp_path / "net-cortex-m4-search" / "search.json").read_text())
    best = found["best"]
    # What the search measured is what the build has: the same bytes, predicted equals linked.
    assert report.artifacts["model.tflite"] == best["sha256"]
    assert report.metrics.flash_bytes.value == best["flash_bytes"]
    assert [trial.tool for trial in report.compilers] == [best["tool"]]
    assert report.metrics.ram_bytes.value == best["ram_bytes"]
    # Cycles are predicted for the preferred compiler.
    off = 0.1 if best["tool"] == "zig" else 0.3
    assert abs(best["predicted_cycles"] / best["cycles"] - 1) < off
    picture = (tmp_path / "net-cortex-m4-search" / "front.svg").read_text()
    assert "flash, KiB" in picture
    # And once more from the recipe alone.
    recipe = tmp_path / "net-cortex-m4-search" / "recipe.json"
    fresh = BuildRequest(
        **{**vars(wanted.build), "compress": str(recipe), "out": tmp_path / "again"}
    )
    again = run_plan(make_plan(fresh))
    assert again.artifacts["model.tflite"] == best["sha256"]


def test_what_cannot_fit_is_refused_with_the_proof(folder, tmp_path):
    with pytest.raises(CheckFailedError) as caught:
        build_within_budget(request(folder, tmp_path, Budget(flash_bytes=3_000)))
    text = str(caught.value)
    assert "cannot fit: not even the smallest network" in text
    assert "closest:" in text
    assert caught.value.exit_code == 1


def test_python_searches_when_it_is_asked_to(folder, tmp_path):
    small = {
        "data": str(folder / "test.npz"),
        "budget": Budget(flash_bytes=3_000),
        "out": tmp_path,
    }
    missed = edgebuild.build(folder / "net.keras", target="cortex-m4", **small)
    assert not missed.passed
    with pytest.raises(CheckFailedError, match="cannot fit"):
        edgebuild.build(folder / "net.keras", target="cortex-m4", search=True, **small)


def test_a_killed_search_loses_what_was_running(folder, tmp_path):
    arguments = [
        *EDGEBUILD, "search", folder / "net.keras", "--target", "cortex-m4",
        "--data", folder / "test.npz", "--train", folder / "train.npz", "--out", tmp_path,
        "--max-flash", "10500", "--trials", "7", "--epochs", "2", "--short-epochs", "1",
        "--finalists", "1", "--jobs", "1", "--json",
    ]  # fmt: skip
    arguments = [str(argument) for argument in arguments]
    database = tmp_path / "net-cortex-m4-search" / "study.db"
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _until(lambda: _trials(database, "COMPLETE") >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = _trials(database, "COMPLETE")
    _until(lambda: not _children_of(process.pid), None)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best"] is not None
    # Two of the seven are moves; a network that comes twice counts once.
    assert 5 <= _trials(database, "COMPLETE") <= 10
    assert _trials(database, "FAIL") <= 1
    assert before >= 2


def test_dask_goes_on_without_a_killed_worker(folder, tmp_path):
    pytest.importorskip("distributed", reason="needs edgebuild[search]")
    log = (tmp_path / "log").open("wb")
    environment = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s"}

    def start(*command):
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]],
            stdout=log, stderr=log, env=environment, cwd=tmp_path,
        )  # fmt: skip

    file = tmp_path / "scheduler.json"
    started = [
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
              "--scheduler-file", str(file))
    ]  # fmt: skip
    try:
        _until(file.is_file, started[0])
        address = json.loads(file.read_text())["address"]
        for name in ("one", "two"):
            started.append(
                start("dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                      "--name", name, "--memory-limit", "0")
            )  # fmt: skip
        killed = []

        def progress(text):
            if text.startswith("trial 2") and not killed:
                started[1].kill()
                killed.append(text)

        found = search(request(folder, tmp_path / "out", dask=address, jobs=None), progress)
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
        log.close()
    assert killed
    assert found.best is not None
    assert found.best.fits(LIMITS)
    assert len(found.points) >= 2


def _trials(database: Path, state: str) -> int:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            query = "select count(*) from trials where state = ?"
            return int(connection.execute(query, (state,)).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def _children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def _until(true, process, limit_s=240):
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.1)
