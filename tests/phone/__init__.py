"""A phone for tests: a device-side adb daemon on loopback, with a folder as its file system."""

from tests.phone.daemon import Faults, LoopbackPhone
from tests.phone.server import AdbServer, adb_program

__all__ = ["AdbServer", "Faults", "LoopbackPhone", "adb_program"]
