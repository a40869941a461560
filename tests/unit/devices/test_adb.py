"""What needs no phone; the rest is in tests/integration/test_adb.py."""

import pytest

from edgebuild.devices.adb import cpu_list, parse_cpus, run_failure
from edgebuild.devices.phone.link import ShellResult
from edgebuild.errors import InputError


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", [0]), ("4-7", [4, 5, 6, 7]), ("7, 0-1,1", [0, 1, 7])]
)
def test_lists_of_cpus(text, cpus):
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,", "-1", "0-9999", "1024", "٣", "0;ls"])
def test_what_is_no_list_of_cpus(text):
    with pytest.raises(InputError, match="is not a list of CPUs"):
        parse_cpus(text)


def test_ranges():
    assert cpu_list([7, 0, 1, 2, 5]) == "0-2,5,7"
    assert cpu_list([]) == ""


@pytest.mark.parametrize(
    ("code", "words", "hint"),
    [
        (126, "cannot be started: no", "allowed to run"),
        (132, "ended by signal 4", "--isa base"),
        (137, "ended by signal 9", "free memory"),
        (139, "ended by signal 11", "logcat"),
        (3, "cannot read or write a file", "free space"),
    ],
)
def test_exit_codes(code, words, hint):
    error = run_failure(ShellResult(code, b"", b"why\n\x1b[2Jno\n".replace(b"\x1b[2J", b"")), "s")
    assert words in error.message and hint in error.hint
