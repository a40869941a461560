"""Signals that find Python where it drops exceptions."""

import signal
import sys
import time

import pytest

from edgebuild.interrupts import TERMINATED, signals_stop, unwind_on_signals


class Dies:
    """Gets a signal in its finalizer."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)
        time.sleep(0)


@pytest.fixture
def unwinding(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = signal.getsignal(signal.SIGTERM)
    unwind_on_signals()
    yield
    signal.signal(signal.SIGTERM, before)


def test_ctrl_c_in_a_finalizer_is_not_lost(unwinding):
    dies = Dies(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        del dies
        time.sleep(5)


def test_sigterm_in_a_finalizer_is_not_lost(unwinding):
    dies = Dies(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        del dies
        time.sleep(5)
    assert ended.value.code == TERMINATED


def test_another_dropped_exception_is_told(unwinding, capsys):
    class Bad:
        def __del__(self):
            raise ValueError("the finalizer's")

    bad = Bad()
    del bad
    assert "the finalizer's" in capsys.readouterr().err


def test_signals_stop_and_take_effect_after_the_block():
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with signals_stop(lambda: steps.append("stop")):
            signal.raise_signal(signal.SIGINT)
            steps.append("block")
        steps.append("after")
    assert steps == ["stop", "block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
