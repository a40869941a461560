import pytest

from edgebuild.devices.phone import identity
from edgebuild.devices.phone.identity import Phone, choose_serial, read_phone, ready_serials
from edgebuild.devices.phone.link import Listed, ShellResult
from edgebuild.errors import InputError, ToolError


@pytest.fixture
def listed(monkeypatch):
    def say(*pairs):
        devices = [Listed(*pair) for pair in pairs]
        monkeypatch.setattr(identity, "list_devices", lambda _client: devices)

    return say


def test_the_only_ready_one_is_chosen(listed):
    listed(("a", "offline"), ("b", "device"))
    assert choose_serial(None) == "b" and ready_serials(None) == ["b"]
    assert choose_serial(None, "b") == "b"


@pytest.mark.parametrize(
    ("devices", "serial", "kind", "message", "hint"),
    [
        ([], None, ToolError, "no device is connected", "USB debugging"),
        ([], "a", ToolError, "no device 'a' is connected", "USB debugging"),
        ([("a", "no permissions")], None, ToolError, "a is not ready: no perm", "udev"),
        ([("a", "bootloader")], "a", ToolError, "a is not ready: bootloader", "fastboot reboot"),
        ([("a", "x\x1b[0m")], None, ToolError, "a is not ready: x?[0m", "adb devices"),
        ([("a", "device"), ("b", "device")], None, InputError, "several devices", "--device a"),
        ([("abcd", "device")], "abce", ToolError, "did you mean 'abcd'", "--device abcd"),
    ],
)
def test_which_cannot_be_chosen(listed, devices, serial, kind, message, hint):
    listed(*devices)
    with pytest.raises(kind) as caught:
        choose_serial(None, serial)
    assert message in caught.value.message and hint in caught.value.hint


class Answers:
    serial = "s"

    def __init__(self, *values):
        self.text = "".join(f"{value}\n" for value in values)

    def features(self):
        return {"shell_v2"}

    def shell(self, command, *, what):
        assert command.count("getprop") == 8
        return ShellResult(0, self.text.encode(), b"")


def test_properties():
    values = ("arm64-v8a", "Google", "Pixel 8", "Google", "Tensor G3", "zuma", "15", "35")
    phone = read_phone(Answers(*values))
    assert phone == Phone("s", "arm64-v8a", "Google Pixel 8", "Google Tensor G3", "15", 35)
    assert phone.title == "Google Pixel 8, Google Tensor G3, Android 15 (API 35)"


def test_what_is_not_told_is_left_out():
    phone = read_phone(Answers("arm64-v8a", "", "", "unknown", "unknown", "sdm845", "", "x"))
    assert phone.title == "s, sdm845, Android"


def test_maker_that_the_name_has_already():
    values = ("arm64-v8a", "nothing", "Nothing Phone", "", "", "x" * 500, "9", "28")
    assert read_phone(Answers(*values)).model == "Nothing Phone"
    assert len(read_phone(Answers(*values)).soc) == 60


def test_another_number_of_answers():
    with pytest.raises(ToolError, match="1 properties in the answer, not 8"):
        read_phone(Answers("arm64-v8a"))
