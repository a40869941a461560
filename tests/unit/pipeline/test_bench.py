"""Runners in threads; whole benches are in tests/integration/test_bench.py and test_adb.py."""

import pytest

from edgebuild.errors import ToolError
from edgebuild.pipeline.bench import _measure_all
from edgebuild.pipeline.runners.base import Measured


class Runner:
    def __init__(self, answer):
        self.name, self._answer = "device", answer

    def check(self, build):
        return True

    def run(self, build, samples, progress):
        if isinstance(self._answer, Exception):
            raise self._answer
        progress("done")
        return self._answer


GOOD, BAD = Measured(None, None), ToolError("no")


@pytest.mark.parametrize("answers", [[GOOD], [BAD], [GOOD, BAD, GOOD]])
def test_each_device_has_its_own_outcome(answers):
    assert _measure_all([Runner(a) for a in answers], None, (), lambda _: None) == answers


@pytest.mark.parametrize("answers", [[ValueError("bug")], [GOOD, ValueError("bug")]])
def test_a_bug_is_not_a_devices_failure(answers):
    with pytest.raises(ValueError, match="bug"):
        _measure_all([Runner(a) for a in answers], None, (), lambda _: None)


def test_progress_is_told_from_one_thread():
    import threading

    threads = set()
    _measure_all([Runner(GOOD)] * 3, None, (), lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}
