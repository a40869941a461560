"""Files packed behind a ``.tflite``: a zip archive, stored and not compressed, with fixed dates.

Android's metadata reader only takes stored entries, with offsets that count from the start of the
whole file.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from edgebuild.errors import ModelError

MAX_FILES = 64
MAX_FILES_BYTES = 64 << 20

_END = struct.Struct("<4s4H2LH")
"""A zip archive's last record; its last field is the length of a comment, which is empty here."""

_DATE = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
)


def append_files(flatbuffer: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return ``flatbuffer`` followed by an archive of ``files``, sorted; no files, no archive."""
    if not files:
        return flatbuffer
    stream = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return stream.getvalue()


def split_files(model: bytes, where: str) -> tuple[bytes, dict[str, bytes]]:
    """Return the flatbuffer and the files packed behind it, {} when there are none.

    Raises:
        ModelError: the archive is damaged, or claims more than 64 files or 64 MiB.
    """
    # Not zipfile.is_zipfile: it takes these bytes anywhere in the last 64 KiB, so in weights.
    if model[-_END.size :][:4] != b"PK\5\6" or model[-2:] != b"\0\0":
        return model, {}
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if len(entries) > MAX_FILES or size > MAX_FILES_BYTES:
                raise ModelError(
                    f"{where}: {len(entries):,} files of {size:,} bytes are packed behind it; "
                    f"at most {MAX_FILES} of {MAX_FILES_BYTES:,} bytes are read"
                )
            files = {entry.filename: archive.read(entry) for entry in entries}
            start = min((entry.header_offset for entry in entries), default=archive.start_dir)
    except _UNREADABLE as error:
        raise ModelError(
            f"{where}: the files packed behind it are damaged: {error}",
            hint="export or copy the model again",
        ) from error
    return model[:start], files
