"""Which of a model's operators a delegate takes, which are left to the CPU, and why."""

from edgebuild.delegates.base import Compatibility, OpVerdict, Partition

__all__ = ["Compatibility", "OpVerdict", "Partition"]
