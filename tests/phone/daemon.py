"""The phone: an adb daemon on 127.0.0.1 that serves one folder, and the faults it can have."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.phone.files import AARCH64_ELF, FileService, RefusedError
from tests.phone.shell import Shell
from tests.phone.wire import (
    AUTH,
    CLSE,
    CNXN,
    MAX_PAYLOAD,
    OKAY,
    OPEN,
    VERSION,
    WRTE,
    GoneError,
    Link,
    Stream,
)

TMP = "/data/local/tmp"
SCANNED_PORTS = range(5554, 5586)
"""Where adb looks for emulators by itself."""
_TOKEN, _SIGNATURE = 1, 2
_WRAPPER = """\
#!/bin/sh
{before}
exec {qemu} -cpu {cpu} '{elf}' "$@"
"""


@dataclass
class Faults:
    """What goes wrong. Sizes are bytes of one pushed file."""

    unauthorized: bool = False
    offline: bool = False
    drop_push_after: int | None = None  # the connection breaks
    full_after: int | None = None  # the disk is full
    push_refused: bool = False
    full_output: bool = False  # the program's own output meets a full disk
    noexec: bool = False
    hang: bool = False  # the program stops and never goes on
    garbage: bytes | None = None  # what the program prints instead of its result
    outputs: bytes = b""  # what lies in its output file then
    garbage_packets: bytes | None = None  # what the shell service sends instead of packets
    garbage_files: bytes | None = None  # what the file service answers ...
    garbage_files_for: bytes = b"RECV"  # ... to this request
    silent_from: str | None = None  # a shell command with this text is never answered
    vanish_on: str | None = None  # the phone goes at a shell command with this text
    vanish_after_s: float = 0.0
    vanish_after: str | None = None  # it goes when a shell command with this text has ended
    short_file: bool = False  # what is pulled has lost its end


@dataclass
class LoopbackPhone:
    """A phone; ``with`` starts and ends it. Its files lie below ``root``."""

    root: Path
    properties: dict[str, str] = field(default_factory=dict)
    cpu: str = "max"
    features: str = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
    faults: Faults = field(default_factory=Faults)
    dumpsys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commands: list[str] = []
        self._links: list[Link] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.path = f"{self.place('/system/bin')}:/usr/bin:/bin"
        for folder in (TMP, "/system/bin", "/sys"):
            self.place(folder).mkdir(parents=True, exist_ok=True)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def place(self, path: str) -> Path:
        """Return where a path of the phone really is."""
        return self.root / path.lstrip("/")

    def files(self) -> list[Path]:
        """Return what lies in the folder for temporary files."""
        return sorted(self.place(TMP).iterdir())

    def processes(self) -> list[int]:
        """Return the processes that name a file of this phone on their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if os.fsencode(self.root) in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    def wait_for_calm(self, limit_s: float = 3.0) -> list[int]:
        """Return the processes that are still there after ``limit_s``."""
        deadline = time.monotonic() + limit_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def __enter__(self) -> LoopbackPhone:
        self._install("getprop", self._getprop())
        self._install("dumpsys", self._dumpsys())
        if self.faults.noexec:
            self._install("chmod", "exit 0")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self) -> None:
        """Listen; on the port of before, when the phone comes back."""
        while True:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
            if self.port not in SCANNED_PORTS:
                break
            listener.close()
            self.port = 0
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def vanish(self) -> None:
        """Go, as when the cable is pulled."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.disconnect()

    def disconnect(self) -> None:
        """Break the connection; the phone still listens."""
        for link in self._links:
            link.close()
        self._links.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            link = Link(connection)
            self._links.append(link)
            threading.Thread(target=self._talk, args=(link,), daemon=True).start()

    def _talk(self, link: Link) -> None:
        streams: dict[int, Stream] = {}
        try:
            while True:
                command, first, second, data = link.receive()
                if command == CNXN:
                    self._greet(link)
                elif command == AUTH:
                    if first == _SIGNATURE:  # not one of ours: ask for the key itself
                        link.send(AUTH, _TOKEN, 0, bytes(range(20)))
                elif command == OPEN:
                    self._open(link, streams, first, data.rstrip(b"\0").decode())
                elif second in streams:
                    self._pass(streams, command, second, data)
        except GoneError:
            pass
        finally:
            link.close()
            for stream in list(streams.values()):
                stream.hang_up()

    @staticmethod
    def _pass(streams: dict[int, Stream], command: int, local: int, data: bytes) -> None:
        if command == WRTE:
            streams[local].arrived(data)
        elif command == OKAY:
            streams[local].acknowledged()
        elif command == CLSE:
            streams.pop(local).hang_up()

    def _greet(self, link: Link) -> None:
        if self.faults.offline:
            return
        if self.faults.unauthorized:
            link.send(AUTH, _TOKEN, 0, bytes(range(20)))
            return
        model = self.properties.get("ro.product.model", "")
        banner = f"device::ro.product.name=test;ro.product.model={model};"
        banner += f"ro.product.device=test;features={self.features}"
        link.send(CNXN, VERSION, MAX_PAYLOAD, banner.encode())

    def _open(self, link: Link, streams: dict[int, Stream], remote: int, service: str) -> None:
        name, _, argument = service.partition(":")
        kind = name.split(",")[0]
        if kind not in ("shell", "exec", "sync"):
            link.send(CLSE, 0, remote)
            return
        stream = Stream(link, max(streams, default=0) + 1, remote)
        streams[stream.local] = stream
        link.send(OKAY, stream.local, remote)

        def serve() -> None:
            with suppress(GoneError):
                if kind == "sync":
                    self._sync(stream)
                else:
                    self._shell(stream, "v2" in name.split(","), argument)
            stream.close()

        threading.Thread(target=serve, daemon=True).start()

    def _sync(self, stream: Stream) -> None:
        if self.faults.garbage_files is not None:
            name, length = struct.unpack("<4sI", stream.read(8))
            path = stream.read(length)
            if name == self.faults.garbage_files_for:
                stream.write(self.faults.garbage_files)
                return
            stream.unread(name + struct.pack("<I", length) + path)
        FileService(stream, self.place, self._received, self._adopt, self._content).serve()

    def _received(self, path: str, count: int) -> None:
        faults = self.faults
        if faults.drop_push_after is not None and count > faults.drop_push_after:
            faults.drop_push_after = None  # once: a new connection works
            self.disconnect()
            raise GoneError
        if faults.full_after is not None and count > faults.full_after:
            raise RefusedError("write failed: No space left on device")
        if faults.push_refused:
            raise RefusedError(f"couldn't create file: {path}: Permission denied")

    def _adopt(self, place: Path, data: bytes, mode: int) -> bool:
        """Put an aarch64 program aside, and a script in its place that runs it in QEMU."""
        if not data.startswith(AARCH64_ELF) or data[18:20] != b"\xb7\x00":
            return False
        elf = place.with_name(f"{place.name}.aarch64")
        elf.write_bytes(data)
        elf.chmod(0o700)
        qemu = shutil.which("qemu-aarch64") or "/nonexistent/qemu-aarch64"
        before = ""
        if self.faults.hang:
            before = "kill -STOP $$"
        elif self.faults.garbage is not None:
            garbage = place.with_name(f"{place.name}.garbage.aarch64")
            garbage.write_bytes(self.faults.garbage)
            outputs = place.with_name("outputs.aarch64")
            outputs.write_bytes(self.faults.outputs)
            before = f"cp '{outputs}' '{place.with_name('output.bin')}'; exec cat '{garbage}'"
        place.write_text(_WRAPPER.format(before=before, qemu=qemu, cpu=self.cpu, elf=elf))
        place.chmod(mode & ~0o111 if self.faults.noexec else mode)
        return True

    def _content(self, place: Path) -> Path:
        """Return the file whose bytes and size the phone shows for ``place``."""
        elf = place.with_name(f"{place.name}.aarch64")
        if elf.exists():
            return elf
        if self.faults.short_file and place.name.startswith("out"):
            short = place.with_name(f"{place.name}.short.aarch64")
            short.write_bytes(place.read_bytes()[:-1])
            return short
        return place

    def _shell(self, stream: Stream, v2: bool, command: str) -> None:
        self.commands.append(command)
        faults = self.faults
        if faults.silent_from is not None and faults.silent_from in command:
            stream.read(1 << 40)  # until the other side hangs up
        if faults.garbage_packets is not None:
            stream.write(faults.garbage_packets)
            return
        if faults.vanish_on is not None and faults.vanish_on in command:
            threading.Timer(faults.vanish_after_s, self.vanish).start()
        if faults.full_output:
            for folder in self.place(TMP).iterdir():
                out = folder / "output.bin"
                if folder.is_dir() and not out.exists():
                    out.symlink_to("/dev/full")
        for path in (TMP, "/sys/"):
            command = command.replace(path, f"{self.root}{path}")
        environment = {"PATH": self.path, "LC_ALL": "C"}
        Shell(stream, v2, self.root, environment).run(command)
        if faults.vanish_after is not None and faults.vanish_after in command:
            time.sleep(0.2)  # the answer arrives first
            self.vanish()

    def _install(self, name: str, script: str) -> None:
        program = self.place("/system/bin") / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def _getprop(self) -> str:
        properties = {
            "ro.product.manufacturer": "Example",
            "ro.product.model": "Phone 1",
            "ro.product.cpu.abi": "arm64-v8a",
            "ro.soc.manufacturer": "Maker",
            "ro.soc.model": "SM0001",
            "ro.board.platform": "board1",
            "ro.build.version.release": "15",
            "ro.build.version.sdk": "35",
        } | self.properties
        cases = "".join(f"{k}) printf '%s\\n' '{v}' ;;\n" for k, v in properties.items())
        return f'case "$1" in\n{cases}*) echo ;;\nesac'

    def _dumpsys(self) -> str:
        cases = ""  # called as: dumpsys -t SECONDS NAME
        for name, text in self.dumpsys.items():
            cases += f"{name}) cat <<'END_OF_DUMP'\n{text}\nEND_OF_DUMP\n;;\n"
        return f'case "$3" in\n{cases}*) echo "Can\'t find service: $3" ;;\nesac'
