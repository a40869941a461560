"""The recipes that choices stand for."""

from edgebuild.search.space import ALL, MOST, Space


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


def test_a_choice_with_aims_counts_from_what_must_go():
    space = Space(blocks=2, wide_layers=True).aiming(["bytes"])
    assert [knob.name for knob in space.knobs][:2] == ["bytes", "criterion"]
    choice = space.neutral(bytes=0.1, blocks=2, energy=0.9)
    assert space.structure(choice) == {"blocks": 2, "energy": 0.9}
    assert space.structure(space.neutral()) == {}
    need = {"ram": 0.2, "bytes": 0.5, "cycles": 0.0}
    cuts = [row for row in space.recipe(choice, need) if row["pass"] == "prune"]
    assert [(row["by"], row["ratio"]) for row in cuts] == [("ram", 0.2), ("bytes", 0.6)]
    nothing = dict.fromkeys(need, 0.0)
    assert not [row for row in space.recipe(choice, nothing) if row["pass"] == "prune"]
    assert space.recipe(choice, {**need, "bytes": 0.94})[-2]["ratio"] == MOST
    assert space.recipe(choice, {**need, "bytes": 0.96})[-2]["ratio"] == ALL
