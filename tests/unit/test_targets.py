import json
import re
import time

import pytest

from edgebuild.errors import InputError
from edgebuild.resources import resource_dir
from edgebuild.targets import (
    CORES,
    CpuFeatures,
    list_targets,
    load_target,
    target_names,
    validate_target,
)

SHIPPED = [
    "android-cpu",
    "android-gpu",
    "android-nnapi",
    *(f"android-nnapi-{level}" for level in range(27, 36)),
    "android-npu",
    "android-npu-google",
    "android-npu-mediatek",
    "coral-devboard",
    "coral-micro",
    "coral-usb",
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m33",
    "cortex-m4",
    "cortex-m55",
    "cortex-m7",
    "host",
    "mps2-an385",
    "mps2-an386",
    "mps2-an500",
    "mps2-an505",
    "mps3-an547",
    "nrf52840-dk",
    "nucleo-f446re",
    "nucleo-h743zi",
    "nucleo-l4r5zi",
    "rpi-pico",
    "rpi-pico2",
]

GOOD = """\
schema = 1
name = "mine"
family = "cortex-m"
description = "A board"
[cpu]
core = "cortex-m4"
clock_hz = 80_000_000
[[memory]]
name = "flash"
kind = "flash"
origin = 0x0800_0000
size = "256KiB"
[[memory]]
name = "ram"
kind = "ram"
origin = 0x2000_0000
size = "64KiB"
reserved = "16KiB"
[run]
default = "simulator"
kinds = ["simulator", "serial"]
serial = { baud = 921_600 }
[firmware]
port = "stm32"
defines = { EB_CLOCK = "80000000UL", EB_FAST = true, EB_N = 3 }
[latency]
how = "modelled"
model = "cortex-m4"
[budget]
max_ram = "32KiB"
max_latency = "50ms"
"""


@pytest.fixture
def write(tmp_path):
    def write_profile(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_profile


def test_the_profiles_of_the_issue_ship():
    assert list(target_names()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_is_valid(name):
    assert validate_target(name) == ()
    profile = load_target(name)
    assert profile.name == name
    assert profile.description
    assert len(profile.sha256) == 64
    json.dumps(profile.to_json())
    assert (profile.delegate is not None) == (profile.family in ("android", "coral"))
    if profile.family != "cortex-m":
        return
    assert profile.cpu.features == CORES[profile.cpu.core]
    assert profile.firmware is not None
    assert 10_000_000 <= profile.cpu.clock_hz <= 500_000_000
    # vww96 needs some 340 KB of flash and 100 KB of RAM: it must fit on each of them.
    assert profile.flash.usable_bytes >= 400 * 1024
    assert profile.ram.usable_bytes >= 120 * 1024
    if profile.run.qemu_machine:
        assert "qemu" in profile.run.kinds
    if profile.latency.how == "modelled":
        assert profile.latency.model == profile.cpu.core


@pytest.mark.parametrize("name", SHIPPED)
def test_the_firmware_port_of_every_shipped_profile_exists(name):
    ports = resource_dir("firmware") / "ports"
    if not ports.is_dir():
        pytest.skip("no ports in this tree")
    firmware = load_target(name).firmware
    if firmware is not None:
        assert list((ports / firmware.port).glob("*.c")), f"no port '{firmware.port}'"


def test_a_generic_core_runs_the_same_image_as_its_qemu_board():
    for core, board in (
        ("cortex-m3", "mps2-an385"),
        ("cortex-m4", "mps2-an386"),
        ("cortex-m7", "mps2-an500"),
        ("cortex-m33", "mps2-an505"),
        ("cortex-m55", "mps3-an547"),
    ):
        generic, real = load_target(core), load_target(board)
        assert generic.run.qemu_machine == real.run.qemu_machine == board
        assert generic.firmware == real.firmware
        for mine, whole in zip(generic.memories, real.memories, strict=False):
            assert mine.origin == whole.origin and mine.end <= whole.end


def test_a_whole_profile(write):
    profile = load_target(write(GOOD))
    assert profile.cpu.features == CpuFeatures(dsp=True, fpu=True)
    assert (profile.flash.origin, profile.flash.size_bytes) == (0x0800_0000, 256 * 1024)
    assert (profile.ram.usable_bytes, profile.ram.end) == (48 * 1024, 0x2001_0000)
    assert profile.run.serial_baud == 921_600
    assert profile.run.qemu_machine is None
    assert profile.firmware.defines == {"EB_CLOCK": "80000000UL", "EB_FAST": "1", "EB_N": "3"}
    assert profile.latency.model == "cortex-m4"


def test_the_device_is_the_limit_where_the_profile_has_no_budget(write):
    budget = load_target(write(GOOD)).default_budget()
    assert (budget.flash_bytes, budget.ram_bytes) == (256 * 1024, 32 * 1024)
    assert (budget.latency_us, budget.max_accuracy_drop) == (50_000, None)
    assert budget.sources == {
        "flash_bytes": "memory of mine",
        "ram_bytes": "profile mine",
        "latency_us": "profile mine",
    }
    assert set(load_target("host").default_budget().to_json().values()) == {None}


def test_the_hash_is_of_what_is_said_not_of_how(write):
    first = load_target(write(GOOD))
    same = load_target(write("# comment\n" + GOOD.replace('"64KiB"', "65536"), "b.toml"))
    other = load_target(write(GOOD.replace("80_000_000", "90_000_000"), "c.toml"))
    assert first == same and first.sha256 == same.sha256
    assert first.sha256 != other.sha256


def test_inheritance(write):
    write(GOOD, "base.toml")
    path = write(
        'schema = 1\nname = "child"\nbased_on = "base.toml"\n'
        "[cpu]\nclock_hz = 40_000_000\n"
        '[firmware]\ndefines = { ONLY = "1" }\n'
        '[budget]\nmax_flash = "100KiB"\n'
    )
    child = load_target(path)
    assert (child.name, child.description) == ("child", "A board")
    assert (child.cpu.core, child.cpu.clock_hz) == ("cortex-m4", 40_000_000)
    assert [memory.name for memory in child.memories] == ["flash", "ram"]
    assert (child.firmware.port, child.firmware.defines) == ("stm32", {"ONLY": "1"})
    assert (child.budget.flash_bytes, child.budget.ram_bytes) == (100 * 1024, 32 * 1024)


def test_memory_is_replaced_as_a_whole(write):
    write(GOOD, "base.toml")
    memory = GOOD[GOOD.index("[[memory]]") : GOOD.index("[run]")].replace("64KiB", "48KiB")
    path = write(f'schema = 1\nname = "child"\nbased_on = "base.toml"\n{memory}')
    assert load_target(path).ram.size_bytes == 48 * 1024


def test_a_user_profile_may_be_based_on_a_shipped_one(write):
    path = write('schema = 1\nname = "m4"\nbased_on = "nucleo-l4r5zi"\n')
    assert load_target(path).flash == load_target("nucleo-l4r5zi").flash
    assert load_target(str(path)).vendor == "STMicroelectronics"


def test_an_unknown_target_gets_the_nearest_name_and_the_list():
    with pytest.raises(InputError) as error:
        load_target("cortex-m4f")
    assert error.value.message == "unknown target 'cortex-m4f'; did you mean 'cortex-m4'?"
    assert "edgebuild targets list" in error.value.hint


@pytest.mark.parametrize(
    ("chip", "board"),
    [
        ("stm32f4", "'nucleo-f446re' is a board with STM32F446RE"),
        ("STM32L4R5", "'nucleo-l4r5zi' is a board with STM32L4R5ZI"),
        ("rp2350", "'rpi-pico2' is a board with RP2350"),
    ],
)
def test_the_name_of_a_chip_gets_a_board_that_has_it(chip, board):
    with pytest.raises(InputError) as error:
        load_target(chip)
    assert error.value.message == f"unknown target '{chip}'; {board}"
    core = load_target(re.search(r"'(.*)' is a board", board)[1]).cpu.core
    assert f"`edgebuild targets new mine.toml --core {core} --clock " in error.value.hint


def test_a_chip_that_no_board_has():
    with pytest.raises(InputError) as error:
        load_target("esp32s3")
    assert error.value.message == "unknown target 'esp32s3'"


def test_a_profile_beside_gets_the_way_to_write_it(write, tmp_path, monkeypatch):
    write(GOOD, "board.toml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        load_target("board")
    assert error.value.hint == "--target ./board.toml"


FAULTS = [
    (
        "clock_hz = 80",
        "clock_mhz = 80",
        "cpu.clock_mhz is not a field; did you mean 'clock_hz' (in Hz, not MHz)?",
    ),
    ('"cortex-m4"\nclock', '"cortex-m4f"\nclock', "cpu.core 'cortex-m4f' is not known; did you"),
    (
        '"256KiB"',
        '"256KB"',
        "memory[0].size '256KB': unknown unit of size 'KB'; did you mean",
    ),
    ('"256KiB"', "true", 'memory[0].size must be a size such as "128KiB", not a boolean'),
    ('"256KiB"', "0", "memory[0] region 'flash' has no size"),
    ('"16KiB"', '"128KiB"', "memory[1] region 'ram' reserves more than its size"),
    ("0x2000_0000", "0x0801_0000", "memory regions 'flash' (0x08000000..0x08040000) and 'ram' "),
    ("0x2000_0000", "0xffff_f000", "memory[1] region 'ram' ends beyond the 32-bit address space"),
    ("0x2000_0000", '"0x20000000"', "memory[1].origin must be a whole number, not a string"),
    ("0x2000_0000", "-1", "memory[1].origin number -1 is negative"),
    ('kind = "ram"', "", "memory[1].kind is missing"),
    ('kind = "ram"', 'kind = "flash"', "memory has no region of kind 'ram'"),
    ('name = "ram"', 'name = "flash"', "memory has two regions called 'flash'"),
    ('name = "ram"', 'name = "r m"', "memory[1] 'r m' is not a region name"),
    ("schema = 1", "schema = 2", "schema is 2; this edgebuild reads schema 1"),
    ("schema = 1", "", "schema is missing"),
    ('name = "mine"', "", "name is missing"),
    ('name = "mine"', 'name = "../up"', "name '../up' may contain only lower-case letters"),
    ('family = "cortex-m"', 'family = "avr"', "family 'avr' is not known; known: cortex-m, host"),
    ('family = "cortex-m"', "family = 3", "family must be a string, not a number"),
    ('port = "stm32"', "", "firmware.port is missing"),
    ('port = "stm32"', 'port = "stm23"', "firmware.port 'stm23' is not known; did you mean"),
    ('port = "stm32"', 'port = "../app"', "firmware.port '../app' is not known; known: cmsdk"),
    ("EB_FAST", '"EB FAST"', 'firmware.defines."EB FAST" is not the name of a C macro'),
    ('"80000000UL"', '"1\\"; x"', "is not a plain C expression"),
    ('default = "simulator"', 'default = "qemu"', "run.default 'qemu' is not among run.kinds"),
    ('"serial"]', '"qemu"]', "run.qemu_machine is missing, and run.kinds has 'qemu'"),
    ('"serial"]', '"serail"]', "run.kinds 'serail' is not known; did you mean 'serial'?"),
    ("baud = 921_600", "bits = 8", "run.serial.bits is not a field"),
    ('model = "cortex-m4"', "", "latency.model is missing, and latency.how is 'modelled'"),
    (
        'max_ram = "32KiB"',
        'max_ram = "1MiB"',
        "budget.max_ram is more than the regions of kind 'ram' have",
    ),
    ('max_ram = "32KiB"', 'ram = "1MiB"', "budget.ram is not a field; did you mean 'max_ram'?"),
    ('"50ms"', "50", 'budget.max_latency must be a duration such as "50ms", not a number'),
    ("[latency]", "[latencies]", "latencies is not a field; did you mean 'latency'?"),
    ("80_000_000", "0", "cpu.clock_hz 0 is not a clock in Hz"),
    ('"A board"', '"A \\u001b[31m board"', "description must be plain text"),
]


@pytest.mark.parametrize(("old", "new", "words"), FAULTS)
def test_a_fault_names_file_key_and_remedy(write, old, new, words):
    path = write(GOOD.replace(old, new, 1))
    found = validate_target(path)
    assert any(fault.startswith(f"{path}: ") and words in fault for fault in found), found
    assert all(fault.isprintable() for fault in found)
    with pytest.raises(InputError):
        load_target(path)


def test_all_faults_are_reported_at_once(write):
    text = GOOD
    for old, new, _ in FAULTS[:3]:
        text = text.replace(old, new, 1)
    path = write(text)
    with pytest.raises(InputError) as error:
        load_target(path)
    assert error.value.message == f"{path} has 3 errors"
    assert "edgebuild targets show" in error.value.hint
    assert [detail.split(": ")[1].split(" ")[0] for detail in error.value.details] == [
        "cpu.core",
        "memory[0].size",
        "cpu.clock_mhz",
    ]


def test_a_fault_in_the_base_names_the_base(write):
    base = write(GOOD.replace("clock_hz", "clock_mhz"), "base.toml")
    path = write(
        'schema = 1\nname = "child"\nbased_on = "base.toml"\n[cpu]\nclock_hz = 1_000_000\n'
    )
    assert validate_target(path) == (
        f"{base}: cpu.clock_mhz is not a field; did you mean 'clock_hz' (in Hz, not MHz)?",
    )


def test_cycles_are_detected(write):
    write('schema = 1\nname = "a"\nbased_on = "b.toml"\n', "a.toml")
    path = write('schema = 1\nname = "b"\nbased_on = "./a.toml"\n', "b.toml")
    (fault,) = validate_target(path)
    assert "based_on leads back to itself" in fault
    assert fault.count("b.toml") >= 2


def test_an_unknown_base_gets_the_nearest_name(write):
    path = write('schema = 1\nname = "a"\nbased_on = "cortex-m44"\n')
    assert validate_target(path) == (
        f"{path}: based_on names 'cortex-m44', which is not a known target; "
        "did you mean 'cortex-m4'?",
    )
    path = write('schema = 1\nname = "a"\nbased_on = "gone.toml"\n')
    assert validate_target(path) == (f"{path}: based_on names 'gone.toml', which does not exist",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "schema is missing"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"a = ", "not valid TOML"),
        (b"schema = 1\nschema = 1", "not valid TOML"),
        (b"a = " + b"[\n" * 5000, "nested too deeply"),
        (b"a." * 100_000 + b"a = 1", "line 1 is longer than 2,048 bytes"),
        (b"".join(b"k%d = 1\n" % i for i in range(20_000)), "k90 is not a field"),
        (b"[" + b"a." * 60 + b"a]\n", "nested deeper than 12 tables"),
        (b"# x\n" * 100_000, "larger than 256 KiB"),
        (b"schema = 0x" + b"f" * 2000, "schema number 0xfff"),
        (b"cpu = 3\nmemory = 4\nrun = []\nfirmware = 1", "cpu must be a table, not a number"),
        (b"memory = [1, 2]", "memory must be an array of tables, not an array"),
        (b"[cpu]\ncore = 1979-05-27", "cpu.core must be a string, not a date or time"),
        (b"cpu.clock_hz = nan", "cpu.clock_hz must be a whole number, not a number with a point"),
        (b'"\\u001b[2J" = 1', "is not a field"),
        (b"[[memory]]\n" * 100, "memory[20].name is missing"),
    ],
)
def test_hostile_files_get_an_error(tmp_path, content, words):
    path = tmp_path / "evil.toml"
    path.write_bytes(content)
    start = time.perf_counter()
    found = validate_target(path)
    assert any(words in fault for fault in found), found[:5]
    assert all(fault.isprintable() and len(fault) < 600 for fault in found)
    assert time.perf_counter() - start < 5
    with pytest.raises(InputError) as error:
        load_target(path)
    assert len(error.value.details) <= 21


@pytest.mark.parametrize("given", ["./no.toml", "a\x00b", "/dev/null/x.toml", "x" * 5000, "./", ""])
def test_a_path_that_is_no_file(given):
    with pytest.raises(InputError):
        load_target(given)
    assert validate_target(given)


def test_list_targets_is_fast_enough_for_completion():
    start = time.perf_counter()
    assert len(list_targets()) == len(SHIPPED)
    assert time.perf_counter() - start < 2


PHONE = """\
schema = 1
name = "phone"
based_on = "android-nnapi"
[delegate]
"""


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ("feature_level = 26", "delegate.feature_level 26 is not an API level from 27 to 35"),
        ("min_sdk = 4000", "delegate.min_sdk 4000 is not an API level"),
        ("min_sdk = 29", "delegate.min_sdk 29 is below 30, the first with feature_level 30"),
        (
            "feature_level = 1000007\nmin_sdk = 30",
            "delegate.min_sdk 30 is below 31, the first with feature_level 1000007",
        ),
        ("kind = 'edgetpu'", "family 'android' has no 'edgetpu'; it has xnnpack, gpu, nnapi, npu"),
        ("kind = 'npu'", "delegate.vendor is missing"),
        ("kind = 'npu'\nvendor = 'google'", "delegate.soc is missing"),
        (
            "kind = 'npu'\nvendor = 'google'\nsoc = 'NOSUCH; rm -rf /'",
            "delegate.soc 'NOSUCH; rm -rf /' may contain only letters, digits and '_-'",
        ),
        ("format = 'int7'", "delegate.format"),
        ("android_gradle_plugin = 7", "delegate.android_gradle_plugin 7 is not 8 or 9"),
        ("[cpu]\ncore = 'cortex-m4'", "'cortex-m4' is not a phone's core (arm64)"),
    ],
)
def test_faults_of_a_delegate(write, says, fault):
    faults = validate_target(write(PHONE + says + "\n"))
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    ("says", "min_sdk"),
    [
        ("", 30),
        ("feature_level = 31", 31),
        ("feature_level = 27", 27),
        ("feature_level = 1000006", 31),
        ("feature_level = 29\nmin_sdk = 33", 33),
        ("kind = 'gpu'", 26),
    ],
)
def test_min_sdk_follows_the_feature_level_unless_set(write, says, min_sdk):
    assert load_target(write(PHONE + says + "\n")).delegate.min_sdk == min_sdk


def test_nnapi_needs_a_feature_level(write):
    text = PHONE.replace("android-nnapi", "android-cpu") + "kind = 'nnapi'\n"
    assert "delegate.feature_level is missing" in validate_target(write(text))[0]


def test_a_cortex_m_needs_a_core_of_its_family(write):
    text = GOOD.replace('"cortex-m4"\nclock', '"arm64"\nclock')
    assert any("not a Cortex-M core" in fault for fault in validate_target(write(text)))


def test_a_byte_order_mark_is_no_error(write):
    path = write(GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert not validate_target(path)
    path.write_bytes(b"\xef\xbb\xbf" + b"schema = no\n")
    (fault,) = validate_target(path)
    assert "line 1" in fault and "\ufeff" not in fault and "?" not in fault


def test_links_that_lead_in_a_circle_are_told(tmp_path):
    (tmp_path / "circle.toml").symlink_to("circle.toml")
    with pytest.raises(InputError, match=r"circle\.toml: too many levels of symbolic links"):
        load_target(str(tmp_path / "circle.toml"))
