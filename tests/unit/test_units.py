import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebuild.errors import InputError
from edgebuild.units import (
    check_within,
    format_duration,
    format_frequency,
    format_points,
    format_range,
    format_size,
    listed,
    parse_count,
    parse_duration_us,
    parse_frequency,
    parse_memory,
    parse_range,
    parse_ratio,
    parse_size,
    quoted,
    shortened,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128KiB", 131072),
        ("2MiB", 2 << 20),
        ("2 MiB", 2 << 20),
        ("1GiB", 1 << 30),
        ("4096", 4096),
        ("4096B", 4096),
        ("1_000", 1000),
        ("1,000", 1000),
        ("0.5KiB", 512),
        (" 1KiB ", 1024),
        (0, 0),
        (65536, 65536),
    ],
)
def test_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("unit", ["KB", "kB", "k", "K", "kib", "Kib", "kbytes"])
def test_a_decimal_or_misspelt_unit_gets_the_binary_one(unit):
    with pytest.raises(
        InputError, match=f"unknown unit of size '{unit}'; did you mean '128KiB'"
    ) as error:
        parse_size(f"128{unit}")
    assert error.value.hint == "write 128KiB"


@pytest.mark.parametrize(
    ("text", "size"), [("64B", 64), ("0", 0), ("1024", 1024), ("64KiB", 65536)]
)
def test_a_limit_of_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["1", "64", " 1023"])
def test_a_small_limit_of_memory_needs_a_unit(text):
    with pytest.raises(InputError, match="has no unit") as error:
        parse_memory(text)
    assert error.value.hint == f"write {text.strip()}KiB, or {text.strip()}B"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a size"),
        ("KiB", "'KiB' is not a size"),
        ("-1KiB", "'-1KiB' is not a size"),
        ("1e9", "'1e9' is not a size"),
        ("1.5.2KiB", "is not a size"),
        ("1_00_0", None),
        ("1,00", "is not a size"),
        ("0.3B", "'0.3B' is not a whole number of bytes"),
        ("128 parsec", "unknown unit of size 'parsec'"),
        ("9" * 70, "is not a size"),
        ("99999999GiB", "size '99999999GiB' is too large"),
        (-1, "size -1 is negative"),
        (1 << 50, "is too large"),
        ("١KiB", "is not a size"),
        (True, "True is not a size"),
        (None, "None is not a size"),
    ],
)
def test_a_bad_size_is_explained(text, message):
    if message is None:
        assert parse_size(text) == 1000
        return
    with pytest.raises(InputError, match=message):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("50ms", 50_000),
        ("20us", 20),
        ("20µs", 20),
        ("1s", 1e6),
        ("1.5s", 1.5e6),
        ("500ns", 0.5),
        ("10min", 6e8),
        ("1h", 3.6e9),
    ],
)
def test_duration(text, us):
    assert parse_duration_us(text) == pytest.approx(us)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("50", "'50' needs a unit of time"),
        ("5days", "unknown unit of time 'days'"),
        ("soon", "'soon' is not a duration"),
        ("99999999s", "is too large"),
    ],
)
def test_a_bad_duration_is_explained(text, message):
    with pytest.raises(InputError) as error:
        parse_duration_us(text)
    assert message in error.value.message
    assert error.value.hint == "use us, ms, s, min or h, for example 50ms"


def test_a_unit_of_time_in_capitals():
    with pytest.raises(InputError, match="unknown unit of time 'MS'; did you mean '50ms'") as error:
        parse_duration_us("50MS")
    assert error.value.hint == "write 50ms"


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("1%", 0.01),
        ("0.5 %", 0.005),
        ("100%", 1.0),
        ("0.01", 0.01),
        (0.01, 0.01),
        ("0%", 0),
        (0, 0),
    ],
)
def test_ratio(text, ratio):
    assert parse_ratio(text) == pytest.approx(ratio)


def test_a_bare_one_is_ambiguous():
    with pytest.raises(InputError, match="1 is ambiguous: a percentage needs its sign") as error:
        parse_ratio(1)
    assert error.value.hint == "write 1%, or 0.01"


@pytest.mark.parametrize("text", ["101%", "-1%", "one", "1pp", -0.5, float("nan")])
def test_a_bad_ratio_is_explained(text):
    with pytest.raises(InputError):
        parse_ratio(text)


def test_count():
    assert parse_count("1_000") == parse_count(1000) == 1000
    for wrong in ("1.5", "1KiB", "many", -1):
        with pytest.raises(InputError):
            parse_count(wrong)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1, "1 B"), (1024, "1 KiB"), (131073, "131,073 B"), (1 << 20, "1 MiB")],
)
def test_format_size(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 us"),
        (0.5, "500 ns"),
        (20, "20 us"),
        (12_345, "12.3 ms"),
        (2e6, "2 s"),
        (5e9, "5,000 s"),
    ],
)
def test_format_duration(us, text):
    assert format_duration(us) == text


def test_format_others():
    assert format_points(0.0125) == "1.25 points"
    assert format_frequency(120_000_000) == "120 MHz"
    assert format_frequency(32_768) == "32.768 kHz"
    assert format_frequency(1.5e9) == "1.5 GHz"
    assert format_frequency(50) == "50 Hz"


def test_quoted_is_short_and_printable():
    assert quoted("a\x1b[31m") == r"'a\x1b[31m'"
    assert len(quoted("x" * 10_000)) == 60
    assert quoted(10**5000).startswith("0x") and len(quoted(10**5000)) == 60


@given(st.integers(0, 1 << 40))
def test_every_size_that_is_printed_is_read_back(size):
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=30))
def test_no_text_makes_a_parser_raise_anything_else(text):
    for parse in (parse_size, parse_duration_us, parse_ratio, parse_count):
        try:
            assert parse(text) >= 0
        except InputError as error:
            assert error.message.isprintable()


def test_a_number_outside_its_range_is_refused():
    for good in (1, 3.5, 86_400):
        check_within("the time limit", good, 1, 86_400)
    for bad in (0, 86_401, math.nan):
        with pytest.raises(InputError, match="the time limit is") as caught:
            check_within("the time limit", bad, 1, 86_400)
        assert caught.value.hint == "1 to 86,400"


@pytest.mark.parametrize(
    ("text", "limits"),
    [("0..255", (0.0, 255.0)), ("-1..1", (-1.0, 1.0)), ("-1.5..-0.5", (-1.5, -0.5))],
)
def test_ranges(text, limits):
    assert parse_range(text) == limits


@pytest.mark.parametrize(
    "text", ["", "..", "5", "1..", "1..1", "2..1", "nan..1", "0..inf", "a..b", "0...255"]
)
def test_what_is_no_range(text):
    with pytest.raises(InputError, match="is not a range"):
        parse_range(text)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(4100, 5300, "4.1 to 5.3 ms"), (900, 1200, "900 us to 1.2 ms"), (5000, 5000.001, "5 ms")],
)
def test_format_range(low, high, text):
    assert format_range(low, high, format_duration) == text


def test_what_is_left_out_is_counted():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert listed([], 2) == ""
    assert shortened(["a", "b"], 2) == ["a", "b"]
    assert shortened(["a", "b", "c"], 1, " lines") == ["a", "... and 2 more lines"]


def test_frequencies():
    assert parse_frequency("84MHz") == 84_000_000 and parse_frequency("32.768 kHz") == 32_768
    assert parse_frequency("1.2GHz") == 1_200_000_000 and format_frequency(84e6) == "84 MHz"
    for text, said in (("84", "needs a unit"), ("84mhz", "write 84MHz"), ("0Hz", "not a clock")):
        with pytest.raises(InputError) as error:
            parse_frequency(text)
        assert said in f"{error.value.message} {error.value.hint}"
    with pytest.raises(InputError):
        parse_frequency("99GHz")
