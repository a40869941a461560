"""A Cortex-M in process: unicorn runs the firmware's model, edgebuild counts and models time."""

from edgebuild.devices.simulator.device import Simulator
from edgebuild.devices.simulator.machine import Region

__all__ = ["Region", "Simulator"]
