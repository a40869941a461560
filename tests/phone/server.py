"""The real adb server, on a port and in a home of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_START_S = 20.0


def adb_program() -> str | None:
    """Return the adb program: the one that comes with adbutils, else the system's."""
    found = find_spec("adbutils")
    if found is not None and found.submodule_search_locations:
        own = Path(found.submodule_search_locations[0]) / "binaries" / "adb"
        if os.access(own, os.X_OK):
            return str(own)
    return shutil.which("adb")


class AdbServer:
    """An adb server that the test owns; it ends with the ``with`` block."""

    def __init__(self, program: str, home: Path) -> None:
        self._program, self._home = program, home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = {
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "HOME": str(home),
            "ADBUTILS_ADB_PATH": program,
            "ADB_MDNS": "0",  # neither the network nor USB is looked at
            "ADB_USB": "0",
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",  # do not look for emulators
        }

    def __enter__(self) -> AdbServer:
        self._log = (self._home / "server.log").open("wb")
        self._process = subprocess.Popen(
            [self._program, "-P", str(self.port), "nodaemon", "server"],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        self.__exit__()
        raise AssertionError((self._home / "server.log").read_text(errors="replace"))

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    @property
    def client(self) -> Any:
        import adbutils

        return adbutils.AdbClient("127.0.0.1", self.port, socket_timeout=10.0)

    def connect(self, phone: Any) -> str:
        """Connect a phone; return the server's answer."""
        return str(self.client.connect(phone.serial, timeout=15.0))

    def adb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the adb program itself."""
        return subprocess.run(
            [self._program, "-P", str(self.port), *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
