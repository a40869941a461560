"""Workers that are processes: what dies takes nothing else with it."""

import os
import time

import pytest

from edgebuild.search.crew import LocalCrew, LostError

from .test_search import problem


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
