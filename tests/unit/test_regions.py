import dataclasses

import pytest

from edgebuild.errors import InputError
from edgebuild.regions import (
    Access,
    Memory,
    parse_place,
    placement_faults,
    placement_notes,
    placement_of,
    regions_to_set_up,
)

FLASH = Memory("flash", "flash", 0x0800_0000, 0x10_0000)
QSPI = Memory("qspi", "flash", 0x9000_0000, 0x80_0000)
RAM = Memory("ram", "ram", 0x2400_0000, 0x8_0000)
DTCM = Memory("dtcm", "ram", 0x2000_0000, 0x2_0000, access=Access(execute_in_place=False))
ITCM = Memory("itcm", "ram", 0x0001_0000, 0x1_0000)
BOARD = (FLASH, RAM, DTCM, ITCM, QSPI)


def test_by_default_the_first_flash_and_the_first_ram_hold_everything():
    placement = placement_of(BOARD, {})
    assert placement.used == (FLASH, RAM)
    assert placement.roles_of(FLASH) == ("code", "kernels", "weights")
    assert placement.roles_of(RAM) == ("arena", "data")
    assert placement.roles_of(QSPI) == ()


def test_regions_say_what_they_hold_and_place_overrules_them():
    holding = (
        FLASH,
        RAM,
        dataclasses.replace(DTCM, holds=("data",)),
        dataclasses.replace(ITCM, holds=("kernels",)),
        dataclasses.replace(QSPI, holds=("weights",)),
    )
    placement = placement_of(holding, {})
    assert (placement.weights.name, placement.kernels.name, placement.data.name) == (
        *("qspi", "itcm", "dtcm"),
    )
    assert [r.name for r in placement.arena] == ["dtcm"], "the arena goes with the data"
    placement = placement_of(holding, {"weights": ["flash"], "arena": ["ram", "dtcm"]})
    assert placement.weights.name == "flash"
    assert [r.name for r in placement.arena] == ["ram", "dtcm"]


def test_kernels_and_weights_go_with_the_code():
    placement = placement_of(BOARD, {"code": ["qspi"]})
    assert placement.roles_of(QSPI) == ("code", "kernels", "weights")


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ({"weights": ["qspo"]}, "refers to a region 'qspo' that is not defined; did you mean"),
        ({"code": ["ram"]}, "puts 'code' in 'ram', which is not flash"),
        ({"arena": ["qspi"]}, "puts 'arena' in 'qspi', which is not RAM"),
        ({"data": ["flash"]}, "puts 'data' in 'flash', which is not RAM"),
        ({"kernels": ["dtcm"]}, "puts 'kernels' in 'dtcm', which cannot execute"),
        ({"weights": ["flash", "qspi"]}, "gives 'weights' to 'flash' and 'qspi'; it takes one"),
        ({"arena": ["ram", "ram"]}, "names a region twice for 'arena'"),
        ({"weight": ["qspi"]}, "is not a role; did you mean 'weights'?"),
    ],
)
def test_a_role_where_it_cannot_be_is_a_fault(place, fault):
    (role,) = place
    ((key, found),) = placement_faults(BOARD, place)
    assert key == f"place.{role}" and fault in found


def test_where_roles_may_go_there_is_no_fault():
    place = {"weights": ["ram"], "kernels": ["itcm"], "arena": ["dtcm", "ram"], "data": ["dtcm"]}
    assert list(placement_faults(BOARD, place)) == []


def test_a_placement_is_parsed_from_a_flag():
    assert parse_place("weights=qspi") == ("weights", ("qspi",))
    assert parse_place("arena=dtcm,ram") == ("arena", ("dtcm", "ram"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("weights", "is not ROLE=REGION"),
        ("arena=dtcm,", "is not ROLE=REGION"),
        ("weight=qspi", "'weight' is not a role; did you mean 'weights'?"),
    ],
)
def test_a_wrong_flag_says_what_is_wrong(text, words):
    with pytest.raises(InputError) as error:
        parse_place(text)
    assert words in error.value.message


SDRAM = Memory("sdram", "ram", 0xC000_0000, 0x80_0000)
PSRAM = Memory("psram", "ram", 0x1100_0000, 0x80_0000, access=Access(wait_states=30))
BANK2 = Memory("bank2", "flash", FLASH.end, 0x10_0000)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, []),
        ({"arena": ["dtcm", "ram"], "kernels": ["itcm"]}, []),
        ({"weights": ["bank2"]}, []),
        ({"weights": ["qspi"]}, ["qspi"]),
        ({"weights": ["qspi"], "arena": ["ram", "sdram"]}, ["qspi", "sdram"]),
        ({"arena": ["psram"]}, ["psram"]),
        ({"code": ["qspi"]}, []),
    ],
)
def test_regions_behind_a_controller_are_told_with_the_hook(place, expected):
    """Of memory that the chip has itself, and of that which it booted from, nothing is said."""
    placement = placement_of((*BOARD, SDRAM, PSRAM, BANK2), place)
    assert [region.name for region in regions_to_set_up(placement)] == expected
    notes = placement_notes((), placement)
    assert len([note for note in notes if "eb_memory_init() in the port" in note]) == bool(expected)
    assert all(name in notes[0] for name in expected)


def test_regions_of_unknown_speed_are_told_where_others_have_one():
    quick = dataclasses.replace(RAM, access=Access())
    placement = placement_of((FLASH, quick), {})
    (note,) = placement_notes((FLASH, quick), placement)
    assert note.startswith("the profile does not say how fast flash is: latency is told as if")
    assert placement_notes((FLASH, RAM), placement_of((FLASH, RAM), {})) == ()
    placement = placement_of((FLASH, RAM, SDRAM), {"arena": ["sdram"]})
    assert "how fast sdram is" in placement_notes((FLASH, RAM, SDRAM), placement)[1]
    slow = dataclasses.replace(SDRAM, access=Access(wait_states=20))
    placement = placement_of((FLASH, RAM, slow), {"arena": ["sdram"], "code": ["flash"]})
    notes = placement_notes((FLASH, RAM, slow), placement)
    assert "sdram (arena) must be set up" in notes[0] and "how fast flash and ram are" in notes[1]
