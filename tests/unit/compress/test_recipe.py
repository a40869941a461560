"""Recipes as text and JSON; data splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgebuild.compress.prune import Prune
from edgebuild.compress.recipe import (
    parse_recipe,
    read_recipe,
    recipe_files,
    recipe_from_json,
    recipe_to_json,
    write_recipe,
)
from edgebuild.compress.splits import class_numbers, split_data
from edgebuild.errors import InputError


def test_text():
    assert parse_recipe("prune") == (Prune(),)
    assert parse_recipe("prune:ratio=30%,by=macs, prune:criterion=l2,epochs=7") == (
        Prune(0.3, by="macs"),
        Prune(criterion="l2", epochs=7),
    )
    assert parse_recipe("prune:layers=a:0.5+b:12,epochs=0") == (
        Prune(layers="a:0.5+b:12", epochs=0),
    )


def test_json_round_trip():
    steps = parse_recipe("prune:ratio=0.25,prune:steps=3")
    assert recipe_from_json(recipe_to_json(steps)) == steps


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("prun:ratio=0.5", "did you mean 'prune'"),
        ("prune:rato=0.5", "did you mean 'ratio'"),
        ("prune:ratio", "has no value"),
        ("prune:ratio=half", "ratio=half is not a finite number"),
        ("l0:strength=nan", "l0: strength=nan is not a finite number"),
        ("l0:strength=inf", "l0: strength=inf is not a finite number"),
        ("prune:sensitivity=-inf", "sensitivity=-inf is not a finite number"),
        ("distill:learning_rate=1e999", "learning_rate=1e999 is not a finite number"),
        ("distill:features=nan%", "features=nan% is not a finite number"),
        ("cluster:tolerance=nan", "tolerance=nan is not a finite number"),
        ("prune:epochs=1.5", "not a whole number"),
        ("ratio=0.5", "does not follow a pass"),
        ("prune:ratio=0.5,ratio=0.3", "prune has ratio twice"),
        ("huffman,prune:epochs=0", "huffman must come after prune"),
        ("huffman,quantize", "huffman must come after quantize"),
        ("huffman,huffman", "huffman may occur only once"),
        ("quantize,huffman,huffman", "huffman may occur only once"),
    ],
)
def test_faults(text, words):
    with pytest.raises(InputError, match=words):
        parse_recipe(text)


@pytest.mark.parametrize("option", ["strength", "epochs"])
def test_no_number_is_infinite_in_a_file_either(option):
    rows = json.loads(f'[{{"pass": "l0", "{option}": Infinity}}]')
    with pytest.raises(InputError, match=f"l0: {option}=inf is not a"):
        recipe_from_json(rows)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("epochs", 2.7, "epochs=2.7 is not a whole number"),
        ("steps", True, "steps=True is not a whole number"),
        ("ratio", False, "ratio=False is not a finite number"),
        ("by", 3, "by=3 is not text"),
        ("layers", None, "layers=None is not text"),
    ],
)
def test_a_value_in_a_file_is_of_its_options_kind(option, value, words):
    with pytest.raises(InputError, match=f"prune: {words}"):
        recipe_from_json([{"pass": "prune", option: value}])


def test_a_seed_in_a_file_is_no_negative_number(tmp_path):
    write_recipe(tmp_path / "r.json", parse_recipe("prune"), -1)
    with pytest.raises(InputError, match="is not a recipe"):
        read_recipe("r.json", tmp_path)


def test_a_file_brings_what_it_was_found_with(tmp_path):
    write_recipe(tmp_path / "r.json", parse_recipe("prune"), 3, ("gcc -Os", "size"))
    assert read_recipe("r.json", tmp_path)[1:] == (3, "gcc -Os", "size")
    write_recipe(tmp_path / "r.json", parse_recipe("prune"), 3)
    assert "tool" not in (tmp_path / "r.json").read_text()
    assert read_recipe("r.json", tmp_path)[1:] == (3, "", "balanced")
    assert read_recipe("prune", tmp_path)[1:] == (None, "", "balanced")
    for wrong in ('"tool": 4', '"optimize": "fast"'):
        (tmp_path / "r.json").write_text(
            f'{{"schema": 1, "seed": 3, {wrong}, "recipe": [{{"pass": "prune"}}]}}'
        )
        with pytest.raises(InputError, match="is not a recipe"):
            read_recipe("r.json", tmp_path)


def test_files_are_looked_up_beside_the_project_or_the_recipe(tmp_path):
    (step,), *_ = read_recipe("distill:teacher=big.keras", tmp_path)
    assert step.teacher == str(tmp_path / "big.keras")
    (step,), *_ = read_recipe("distill:teacher=big.keras", Path())
    assert step.teacher == "big.keras"
    (tmp_path / "sub").mkdir()
    write_recipe(tmp_path / "sub" / "r.json", parse_recipe("prune,distill:teacher=big.keras"), 0)
    steps, *_ = read_recipe("sub/r.json", tmp_path)
    assert recipe_files(steps) == {"distill 2: teacher": tmp_path / "sub" / "big.keras"}
    away = str(tmp_path / "away.keras")
    assert read_recipe(f"distill:teacher={away}", Path("x"))[0][0].teacher == away


def test_splits_share_every_class_and_no_sample():
    y = np.repeat(np.arange(5), 40)
    x = np.arange(200)
    splits = split_data([x], y, seed=0)
    parts = [splits.train, splits.validation, splits.test]
    assert [len(p) for p in parts] == pytest.approx([140, 30, 30], abs=4)
    assert sorted(np.concatenate([p.x[0] for p in parts]).tolist()) == list(range(200))
    for part in parts:
        np.testing.assert_array_equal(part.y, part.x[0] // 40)
        assert np.bincount(part.y, minlength=5).min() >= len(part) // 5 - 2
    again = split_data([x], y, seed=0)
    np.testing.assert_array_equal(again.test.x[0], splits.test.x[0])
    with pytest.raises(InputError, match="cannot be divided"):
        split_data([x[:5]], None, seed=0)


def test_class_numbers():
    assert class_numbers(None) is None
    assert class_numbers(np.array([[0], [2]])).tolist() == [0, 2]
    assert class_numbers(np.eye(3)).tolist() == [0, 1, 2]
    assert class_numbers(np.array([0.5, 1.0])) is None
    assert class_numbers(np.full((2, 3), 0.3)) is None
