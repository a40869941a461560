"""Workers: what dies takes nothing else with it, and what cannot go on is explained."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgebuild.errors import Exit
from edgebuild.search.crew import DaskCrew, LocalCrew, LostCrewError, LostError, UnfitWorkerError

from .formulas import problem

ROOT = Path(__file__).parents[3]


def rest(problem, seconds):
    time.sleep(seconds)
    return problem.name, os.getpid()


def die(problem):
    os._exit(9)


@pytest.fixture
def crew():
    made = LocalCrew(problem(), 2)
    yield made
    made.close()


def result(crew, ticket):
    while not crew.wait([ticket], 1.0):
        pass
    return crew.result(ticket)


def test_a_process_that_dies_loses_its_own_ticket_alone(crew):
    resting, dying = crew.submit(rest, 5.0), crew.submit(die)
    with pytest.raises(LostError, match="a worker process ended"):
        result(crew, dying)
    assert not resting.done()
    again = crew.submit(rest, 0.0)  # in a new process
    name, other = result(crew, again)
    first_name, first = result(crew, resting)
    assert (name, first_name) == ("net", "net")
    assert other != first


def test_work_goes_to_the_process_that_has_none(crew):
    tickets = [crew.submit(rest, 1.0) for _ in range(2)]
    assert len({result(crew, ticket)[1] for ticket in tickets}) == 2


def test_close_ends_what_runs(crew):
    ticket = crew.submit(rest, 0.0)
    _, process = result(crew, ticket)
    crew.submit(rest, 60.0)
    crew.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.fixture
def cluster(tmp_path):
    """Starts a scheduler, whose address it returns, or workers of it; None without an address."""
    pytest.importorskip("distributed", reason="needs edgebuild[search]")
    started = []

    def start(program, *arguments, path):
        search_path = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments],
                env={**os.environ, "PYTHONPATH": search_path},
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return started[-1]

    def begin(path, scheduler_path=None):
        file = tmp_path / "scheduler.json"
        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                          "--scheduler-file", str(file), path=scheduler_path or path)  # fmt: skip
        deadline = time.monotonic() + 60.0
        while not (file.is_file() and file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
              "--memory-limit", "0", path=path)  # fmt: skip
        return scheduler, address

    yield begin
    for process in reversed(started):
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("worker", "No module named 'edgebuild'"),
        ("scheduler", "Error during deserialization of the task graph"),
    ],
)
def test_a_cluster_without_edgebuild_is_explained(cluster, tmp_path, who, reason):
    absent = tmp_path / "absent" / "edgebuild"
    absent.mkdir(parents=True)
    text = "raise ModuleNotFoundError(\"No module named 'edgebuild'\")\n"
    (absent / "__init__.py").write_text(text)
    _, address = cluster(absent.parent, ROOT if who == "worker" else absent.parent)
    crew = DaskCrew(problem(), address)
    try:
        with pytest.raises(UnfitWorkerError) as caught:
            result(crew, crew.submit(rest, 0.0))
    finally:
        crew.close()
    whose = "a worker of " if who == "worker" else ""
    said = f"{whose}the Dask scheduler at {address} does not work: {reason}"
    assert caught.value.message.startswith(said)
    assert "install the same edgebuild for the scheduler and each worker" in caught.value.hint
    assert caught.value.exit_code == Exit.BAD_INPUT


def test_a_scheduler_that_is_gone_is_explained(cluster):
    scheduler, address = cluster(ROOT)
    crew = DaskCrew(problem(), address)
    try:
        assert result(crew, crew.submit(rest, 0.0))[0] == "net"
        crew._problem.cancel()  # as a lost connection does
        assert result(crew, crew.submit(rest, 0.0))[0] == "net"
        ticket = crew.submit(rest, 60.0)
        scheduler.kill()
        for ask in (
            lambda: result(crew, ticket),
            lambda: crew.size,
            lambda: result(crew, crew.submit(rest, 0.0)),
        ):
            with pytest.raises(LostCrewError) as caught:
                ask()
            assert caught.value.message == f"the Dask scheduler at {address} has stopped"
            assert "the same command goes on" in caught.value.hint
            assert caught.value.exit_code == Exit.TOOL_FAILED
    finally:
        crew.close()
