"""Devices are listed once adb knows what they are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgebuild.devices.phone import link
from edgebuild.devices.phone.link import list_devices


class Client:
    """Answers with one state after another, the last one for ever."""

    def __init__(self, *states):
        self.states, self.asked = list(states), 0

    def list(self):
        self.asked += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return [SimpleNamespace(serial="phone", state=state)]


@pytest.mark.parametrize(
    ("states", "found", "asked"),
    [
        (("device",), "device", 1),
        (("connecting", "authorizing", "unauthorized"), "unauthorized", 3),
        (("no",), "no permissions", 1),
    ],
)
def test_a_device_settles(states, found, asked):
    client = Client(*states)
    (listed,) = list_devices(client)
    assert (listed.serial, listed.state, client.asked) == ("phone", found, asked)


def test_one_that_never_settles_is_listed_as_it_is(monkeypatch):
    monkeypatch.setattr(link, "SETTLE_S", 0.2)
    (listed,) = list_devices(Client("authorizing"))
    assert listed.state == "authorizing"
