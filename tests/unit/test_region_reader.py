import pytest

from edgebuild.errors import InputError
from edgebuild.regions import Access, Cache
from edgebuild.targets import load_target, validate_target

GOOD = """\
schema = 1
name = "mine"
family = "cortex-m"
description = "A board"
[cpu]
core = "cortex-m7"
clock_hz = 400_000_000
instruction_cache = { size = "16KiB", line_bytes = 32, ways = 2 }
[[memory]]
name = "flash"
kind = "flash"
origin = 0x0800_0000
size = "256KiB"
[memory.access]
wait_states = 4
wait_states_max = 7
sequential_wait_states = 1
line_bytes = 32
prefetch = true
core_caches = true
[[memory]]
name = "qspi"
kind = "flash"
origin = 0x9000_0000
size = "8MiB"
holds = ["weights"]
access = { wait_states = 40, cache = { size = "16KiB", line_bytes = 8, ways = 2 } }
[[memory]]
name = "ram"
kind = "ram"
origin = 0x2400_0000
size = "64KiB"
[[memory]]
name = "dtcm"
kind = "ram"
origin = 0x2000_0000
size = "64KiB"
access = { execute_in_place = false }
[place]
arena = ["dtcm", "ram"]
[run]
default = "simulator"
kinds = ["simulator"]
[firmware]
port = "stm32"
"""


@pytest.fixture
def write(tmp_path):
    def inner(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return inner


def test_roles_and_speed_are_read(write):
    target = load_target(write(GOOD))
    flash, qspi, ram, dtcm = target.memories
    assert flash.access == Access(4, 7, 1, 32, prefetch=True, core_caches=True)
    assert flash.access.is_bounded
    assert qspi.access == Access(40, cache=Cache(16384, 8, 2))
    assert not qspi.access.is_bounded
    assert ram.access is None
    assert not dtcm.executes
    assert target.cpu.instruction_cache == Cache(16384, 32, 2)
    assert target.placement.weights == qspi
    assert target.placement.arena == (dtcm, ram)


def test_roles_are_part_of_a_profiles_identity(write):
    target = load_target(write(GOOD))
    moved = target.placed({"weights": ("flash",)})
    assert moved.placement.weights.name == "flash"
    assert moved.sha256 != target.sha256


def test_regions_that_are_used_make_the_budget(write):
    budget = load_target(write(GOOD)).default_budget()
    assert budget.flash_bytes == (256 << 10) + (8 << 20)
    assert budget.ram_bytes == 128 << 10


def test_placing_in_a_region_that_is_not_there_names_those_that_are(write):
    with pytest.raises(InputError) as error:
        load_target(write(GOOD)).placed({"weights": ("psram",)})
    assert "refers to a region 'psram' that is not defined" in error.value.message
    assert "qspi (flash)" in error.value.hint
    with pytest.raises(InputError, match="host has no memory regions"):
        load_target("host").placed({"weights": ("qspi",)})


FAULTS = [
    ('["weights"]', '["weight"]', "memory[1].holds 'weight' is not known; did you mean 'weights'?"),
    ('["weights"]', '["arena"]', "memory puts 'arena' in 'qspi', which is not RAM"),
    ("wait_states = 4", "wait_state = 4", "memory[0].access.wait_state is not a field; did you"),
    ("wait_states = 4", "wait_states = 9", "memory[0].access.wait_states_max 7 is below"),
    ("sequential_wait_states = 1", "sequential_wait_states = 5", "5 is above wait_states"),
    ("line_bytes = 32\nprefetch", "line_bytes = 24\nprefetch", "24 is not a power of two"),
    ("line_bytes = 8, ways = 2", "line_bytes = 8, ways = 3", "is not a multiple of 3 ways"),
    ("line_bytes = 8, ways", "ways", "memory[1].access.cache.line_bytes is missing"),
    ("wait_states = 40", "wait_states = 4_000_000", "is not a number of cycles up to"),
    ("core_caches = true", "core_caches = 1", "core_caches must be true or false"),
    (
        "wait_states = 40,",
        'wait_states = 40, data_cache = { size = "1KiB", line_bytes = 8 },',
        "memory[1].access.cache serves instructions and data",
    ),
    (
        '["dtcm", "ram"]',
        '["dtmc", "ram"]',
        "place.arena refers to a region 'dtmc' that is not defined",
    ),
    ("arena = [", "arenas = [", "place.arenas is not a field; did you mean 'arena'?"),
    ("[run]", 'kernels = "dtcm"\n[run]', "place.kernels puts 'kernels' in 'dtcm', which cannot"),
]


@pytest.mark.parametrize(("old", "new", "words"), FAULTS)
def test_a_fault_of_a_region_names_its_key(write, old, new, words):
    assert old in GOOD
    found = validate_target(write(GOOD.replace(old, new, 1)))
    assert any(words in fault for fault in found), found


def test_all_faults_of_regions_are_reported_at_once(write):
    text = GOOD.replace('"dtcm", "ram"', '"dtmc", "rom"').replace("ways = 2", "ways = 3")
    assert len(validate_target(write(text))) >= 3
