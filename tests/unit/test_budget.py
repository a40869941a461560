import math

import pytest

from edgebuild.budget import Budget, Metrics, merge
from edgebuild.figures import Figure, How


def figure(value, unit="B", how=How.LINKED, source="zig 0.17"):
    return Figure(value, unit, how, source)


def test_limits_are_inclusive():
    budget = Budget(flash_bytes=100, ram_bytes=50, latency_us=10, max_accuracy_drop=0.01)
    metrics = Metrics(figure(100), figure(50), figure(10, "us"), figure(0.01, "ratio"))
    assert budget.check(metrics) == ()


def test_without_limits_nothing_is_missed():
    assert Budget().check(Metrics()) == ()
    assert Budget().check(Metrics(figure(1e12))) == ()


def test_a_miss_says_budget_value_by_how_much_and_how_it_is_known():
    budget = Budget(ram_bytes=131_072).named("edgebuild.toml")
    (violation,) = budget.check(Metrics(flash_bytes=figure(1), ram_bytes=figure(142_336)))
    assert (violation.budget, violation.over, violation.unknown) == ("ram", 11_264, False)
    assert violation.sentence() == (
        "RAM budget missed by 11,264 B (11 KiB): needs 142,336 B (139 KiB) (linked: zig 0.17), "
        "budget 131,072 B (128 KiB) from edgebuild.toml"
    )
    assert violation.to_json() == {
        "budget": "ram",
        "limit": 131_072,
        "value": {"value": 142_336, "unit": "B", "how": "linked", "source": "zig 0.17"},
        "over": 11_264,
        "source": "edgebuild.toml",
    }


def test_latency_and_accuracy_have_their_own_units():
    budget = Budget(latency_us=50_000, max_accuracy_drop=0.01)
    latency, accuracy = budget.check(
        Metrics(
            latency_us=figure(62_500, "us", How.MODELLED, "cortex-m4"),
            accuracy_drop=figure(0.0225, "ratio", How.MEASURED, "1,000 samples"),
        )
    )
    assert latency.sentence() == (
        "latency budget missed by 12.5 ms: needs 62.5 ms (modelled: cortex-m4), budget 50 ms"
    )
    assert accuracy.budget == "accuracy-drop"
    assert accuracy.sentence() == (
        "accuracy budget missed by 1.25 points: drops 2.25 points (measured: 1,000 samples), "
        "budget 1 point"
    )


def test_a_budget_that_cannot_be_checked_is_not_met_in_silence():
    (violation,) = Budget(latency_us=50_000).named("the command line").check(Metrics())
    assert violation.unknown and violation.over is None
    assert violation.sentence() == (
        "latency budget cannot be checked: the value is unknown (budget 50 ms from the command "
        "line)"
    )
    assert violation.to_json()["value"] is None


def test_nan_is_a_miss():
    assert Budget(latency_us=1).check(Metrics(latency_us=figure(math.nan, "us")))


def test_the_worst_class():
    lost = figure(0.07, "ratio", How.MEASURED, "class 'cat', 200 samples")
    (violation,) = Budget(max_class_drop=0.05).check(Metrics(class_drop=lost))
    assert violation.budget == "class-drop"
    assert violation.sentence() == (
        "class accuracy budget missed by 2 points: drops 7 points (measured: class 'cat', "
        "200 samples), budget 5 points"
    )
    assert Budget(max_class_drop=0.07).check(Metrics(class_drop=lost)) == ()
    (unknown,) = Budget(max_class_drop=0.05).check(Metrics())
    assert unknown.unknown


def test_a_zero_budget_counts():
    (violation,) = Budget(max_accuracy_drop=0.0).check(Metrics(accuracy_drop=figure(1e-6, "ratio")))
    assert violation.limit == 0


@pytest.mark.parametrize(
    "field", ["flash_bytes", "ram_bytes", "latency_us", "max_accuracy_drop", "max_class_drop"]
)
def test_the_stronger_source_wins_field_by_field(field):
    profile = Budget(1, 1, 1.0, 0.1, 0.1).named("profile")
    project = Budget(**{field: 0}).named("edgebuild.toml")
    merged = merge(profile, project, Budget())
    assert getattr(merged, field) == 0
    assert merged.sources[field] == "edgebuild.toml"
    assert list(merged.sources.values()).count("profile") == 4


def test_sources_do_not_count_for_equality():
    assert Budget(1).named("a") == Budget(1).named("b") == Budget(1)
    assert hash(Budget(1).named("a")) == hash(Budget(1))


def test_json():
    assert Metrics(figure(1)).to_json()["flash_bytes"]["value"] == 1
    assert Metrics().to_json() == dict.fromkeys(
        (
            *("flash_bytes", "ram_bytes", "latency_us", "accuracy_drop", "class_drop"),
            *("error_increase", "similarity"),
        )
    )


def test_where_only_bounds_are_known_the_upper_one_counts():
    rough = Figure(900, "B", How.ESTIMATED, "a table", low=800, high=1_000)
    assert Budget(flash_bytes=1_000).check(Metrics(flash_bytes=rough)) == ()
    (unsure,) = Budget(flash_bytes=950).check(Metrics(flash_bytes=rough))
    assert unsure.uncertain and not unsure.unknown
    assert unsure.sentence() == (
        "flash budget may be missed: between 800 B and 1,000 B (estimated: a table), budget 950 B"
    )
    (certain,) = Budget(flash_bytes=799).check(Metrics(flash_bytes=rough))
    assert not certain.uncertain and certain.sentence().startswith("flash budget missed by 101 B")
    assert rough.to_json()["high"] == 1_000 and "low" not in figure(1).to_json()


def test_a_similarity_has_a_lower_limit():
    budget = Budget(min_similarity=0.95, max_error_increase=0.1).named("edgebuild.toml")
    near, far = (
        Metrics(similarity=figure(value, "similarity"), error_increase=figure(rise, "ratio"))
        for value, rise in ((0.95, 0.1), (0.9, 1.5))
    )
    assert budget.check(near) == ()
    rose, unlike = budget.check(far)
    assert unlike.over == pytest.approx(0.05) and rose.over == pytest.approx(1.4)
    assert unlike.sentence().startswith("similarity budget missed by 0.0500: has 0.9000 (")
    assert rose.sentence().startswith("error budget missed by 140%: rises by 150% (")
    assert len(budget.check(Metrics(similarity=figure(float("nan"), "similarity")))) == 2
