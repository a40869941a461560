"""The recipes that choices stand for."""

import dataclasses

import pytest

from edgebuild.search.space import ALL, MOST, Space, Structure


def test_recipes_hold_only_what_is_chosen():
    space = Space(blocks=2, wide_layers=True, normalized=True)
    assert space.recipe(space.neutral()) == (
        {"pass": "quantize", "calibration": "min-max", "rounding": "nearest"},
    )
    steps = [row["pass"] for row in space.recipe(space.neutral(bytes=0.5, blocks=1, energy=0.9))]
    assert steps == ["remove_blocks", "low_rank", "prune", "quantize"]
    assert [k.name for k in Space().knobs] == [
        "ram", "bytes", "cycles", "criterion", "sensitivity", "calibration", "rounding",
    ]  # fmt: skip


def test_recipes_of_an_architecture_scale_prune_and_quantize():
    space = Space(architecture=True)
    choice = space.neutral(width=0.5)
    assert [row["pass"] for row in space.recipe(choice)] == ["scale", "quantize"]
    assert space.recipe({**choice, "prune": "ram"})[1] == {
        "pass": "prune", "by": "ram", "ratio": 0.3,
    }  # fmt: skip
    (whole,) = space.reductions()
    assert [row["pass"] for row in space.smallest(whole)] == ["scale", "prune", "quantize"]


def test_a_space_that_aims_counts_from_what_must_go():
    space = Space(blocks=3, wide_layers=True)
    named = [structure.name for structure in space.structures()]
    assert named == ["blocks=1", "blocks=2", "blocks=3", "energy=0.99", "energy=0.95", "energy=0.9"]
    small, original = Structure(3, 0.9), Structure()
    need = {"ram": 0.2, "bytes": 0.5, "cycles": 0.0}
    aiming = space.aiming({original: dict.fromkeys(need, 0.0), small: need})
    assert [knob.name for knob in aiming.knobs] == [
        "ram", "bytes", "criterion", "sensitivity", "structure", "calibration", "rounding",
    ]  # fmt: skip
    choice = aiming.neutral(bytes=0.1)
    assert [row["pass"] for row in aiming.recipe(choice)] == ["quantize"]
    other = space.aiming({small: need})
    # The choices of a study never change; the first structure stands in for what may not be tried.
    assert [k for k in aiming.knobs if k.options] == [
        k if k.name != "structure" else dataclasses.replace(k, neutral="original")
        for k in other.knobs
        if k.options
    ]
    assert other.recipe(choice | {"structure": "blocks=1"}) == other.recipe(
        choice | {"structure": small.name}
    )
    *steps, _ = aiming.recipe(choice | {"structure": "blocks=3 energy=0.9"})
    assert steps[:2] == [
        {"pass": "remove_blocks", "count": 3},
        {"pass": "low_rank", "energy": 0.9},
    ]
    assert [(row["by"], row["ratio"]) for row in steps[2:]] == [("ram", 0.2), ("bytes", 0.6)]


@pytest.mark.parametrize(
    ("need", "by", "ratio", "multiple"),
    [
        (0.5, -0.02, 0.48, None),
        (0.01, -0.02, 0.0, None),
        (0.9, 0.15, MOST, None),
        (0.9, 0.075, 0.925, None),
        (0.96, 0.15, ALL, 1),
        (0.96, -0.02, 0.951, 1),
        (ALL, 0.1, ALL, 1),
    ],
)
def test_the_room_above_what_must_go_is_shared_out(need, by, ratio, multiple):
    needs = {"ram": 0.0, "bytes": need, "cycles": 0.0}
    space = Space().aiming({Structure(): needs})
    *cuts, _ = space.recipe(space.neutral(bytes=by))
    if not ratio:
        assert not cuts
    else:
        assert cuts[0]["ratio"] == pytest.approx(ratio)
        assert cuts[0].get("multiple") == multiple
