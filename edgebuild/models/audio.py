"""A folder of WAV files as waveforms: 16-bit PCM, read with the standard library."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgebuild.errors import InputError
from edgebuild.limits import DATA_BYTES, files_in, open_file

SUFFIXES = {".wav", ".wave"}
_FULL_SCALE = 32768.0
_CONVERT = "ffmpeg -i in.wav -ac 1 -c:a pcm_s16le out.wav"


def waveform_length(path: Path, shape: Sequence[int]) -> int:
    """Return how many values a waveform has for a model whose one input takes ``shape``.

    InputError, with the way there is, for a model that takes something else.
    """
    sizes = [size for size in shape if size != 1]
    if len(sizes) != 1:
        raise InputError(
            f"{path}: WAV files are waveforms of one row of values, the model takes "
            f"{list(shape) if shape else 'several inputs'}",
            hint="compute the features as for training and give them as "
            "np.savez('set.npz', x=features, y=labels)",
        )
    return int(sizes[0])


def read_waveforms(files: Sequence[Path], length: int) -> np.ndarray:
    """Return (samples, length) of float32 from -1 to below 1, as ``tf.audio.decode_wav`` gives.

    A file that is shorter is filled up with zeros. InputError for files that are longer, not of
    16-bit PCM, of several channels, or of different sample rates.
    """
    if 4 * len(files) * length > DATA_BYTES:
        raise InputError(f"{len(files):,} waveforms of {length:,} values do not fit in memory")
    x = np.zeros((len(files), length), np.float32)
    rates: dict[int, Path] = {}
    for row, file in zip(x, files, strict=True):
        values, rate = _read(file, length)
        row[: len(values)] = values / _FULL_SCALE
        rates.setdefault(rate, file)
    if len(rates) > 1:
        (one, first), (other, second) = list(rates.items())[:2]
        raise InputError(
            f"{first} has {one:,} samples a second, {second} {other:,}",
            hint=f"resample them to one rate: ffmpeg -i in.wav -ar {one} out.wav",
        )
    return x


def _read(file: Path, length: int) -> tuple[np.ndarray, int]:
    """Return the values of a file, int16, and its sample rate."""
    try:
        with open_file(file, most=DATA_BYTES) as opened, wave.open(opened) as sound:
            if sound.getsampwidth() != 2 or sound.getnchannels() != 1:
                raise InputError(
                    f"{file}: has {8 * sound.getsampwidth()} bits and {sound.getnchannels()} "
                    "channels, expected 16 bits and 1 channel",
                    hint=_CONVERT,
                )
            count = sound.getnframes()
            if count > length:
                raise InputError(
                    f"{file}: has {count:,} values, the model takes {length:,}",
                    hint="cut it as for training; a shorter file is filled up with zeros",
                )
            content = sound.readframes(count)
            if len(content) != 2 * count:
                raise InputError(
                    f"{file}: damaged: it has only {len(content):,} B of sound",
                    hint="copy the file again, or take it out of the folder",
                )
            return np.frombuffer(content, "<i2"), sound.getframerate()
    except (wave.Error, EOFError) as error:
        raise InputError(f"{file}: not a WAV file of PCM: {error}", hint=_CONVERT) from error


def sounds_in(folder: Path) -> list[Path]:
    """Return the WAV files in ``folder``, sorted by name."""
    return files_in(folder, SUFFIXES)
