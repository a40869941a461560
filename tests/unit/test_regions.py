import dataclasses

import pytest

from edgebuild.errors import InputError
from edgebuild.regions import Access, Memory, parse_place, placement_faults, placement_of

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
        ({"weights": ["qspo"]}, "names 'qspo', which is not a region; did you mean"),
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
