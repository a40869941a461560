import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebuild.devices.phone.health import Clock, Health, health_notes, parse_health

PHONE = """\
@thermal
IsStatusOverride: false
Thermal Status: 3
Cached temperatures:
\tTemperature{mValue=99.9, mType=0, mName=CPU7, mStatus=0}
Current temperatures from HAL:
\tTemperature{mValue=44.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=71.25, mType=0, mName=CPU7, mStatus=1}
\tTemperature{mValue=39.0, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
@battery
Current Battery Service state:
  AC powered: false
  USB powered: false
  level: 12
  temperature: 305
@zones
45000 cpu-0-0
@clocks
0 300000 1800000 1800000
7 500000 1400000 2800000
8 \x20
@end
"""


def test_a_phone():
    assert parse_health(PHONE) == Health(
        status=3,
        cpu_celsius=71.25,
        skin_celsius=39.0,
        battery_celsius=30.5,
        battery_percent=12,
        charging=False,
        clocks=(Clock(0, 300000, 1800000, 1800000), Clock(7, 500000, 1400000, 2800000)),
    )


@pytest.mark.parametrize(
    ("zones", "celsius"),
    [
        ("52300 cpu-1-0\n61000 battery\n48000 soc_thermal", 52.3),
        ("52 cpu0-thermal", 52),
        ("-273000 cpu-off\n0 cpu-1", None),  # sensors that are off
        ("999999999 cpu", None),
        ("hot cpu\n cpu\n$(cat) /sys", None),
    ],
)
def test_without_a_thermal_service_the_kernels_zones_tell(zones, celsius):
    assert parse_health(f"@thermal\nCan't find service\n@zones\n{zones}\n").cpu_celsius == celsius


def test_notes():
    notes = health_notes(Health(status=0), parse_health(PHONE))
    assert len(notes) == 3
    assert "thermal status severe" in notes[0]
    assert "CPU 7 were limited, to 1.40 of 2.80 GHz" in notes[1]
    assert "battery is at 12 %" in notes[2]
    assert health_notes(Health(status=0), Health(status=0)) == []
    assert "whether it throttled is unknown" in health_notes(Health(), Health())[0]


@given(st.text() | st.lists(st.sampled_from(PHONE.splitlines())).map("\n".join))
def test_nothing_that_a_phone_prints_is_a_crash(text):
    found = parse_health(text)
    health_notes(found, found)
