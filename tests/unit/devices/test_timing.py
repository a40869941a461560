import pytest

from edgebuild.devices.timing import drift_note, summarize


def test_percentiles_are_times_that_were_measured():
    found = summarize([ns * 1000 for ns in range(100, 0, -1)])
    assert (found.median_us, found.p90_us, found.p95_us, found.p99_us) == (50.5, 90, 95, 99)
    assert (found.shortest_us, found.longest_us, found.runs) == (1, 100, 100)
    assert found.std_us == pytest.approx(29.01, abs=0.01)


def test_one_run():
    found = summarize([1500])
    assert found.median_us == found.p90_us == found.p99_us == found.longest_us == 1.5
    assert found.std_us == 0


def test_figures_name_their_source():
    figures = summarize([1000, 2000]).figures("phone")
    assert {f.unit for f in figures.values()} == {"us"}
    assert figures["latency, p99"].value == 2.0 and figures["latency, p99"].source == "phone"


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([100] * 20 + [115] * 20, "15% longer"),
        ([100] * 20 + [105] * 20, ""),
        ([100] * 39 + [10_000], ""),  # one interrupted run
        ([100] * 9 + [200] * 9, ""),  # too few to say
        ([0] * 40, ""),
    ],
)
def test_drift(times, words):
    note = drift_note(times)
    assert words in note if words else note == ""
