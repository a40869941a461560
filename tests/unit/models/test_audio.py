"""Folders of WAV files."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from edgebuild.errors import InputError
from edgebuild.graph import DType
from edgebuild.models.data import load_data, match_inputs
from edgebuild.models.source import InputSpec


class Waveforms:
    outputs = ()

    def __init__(self, *shapes):
        self.inputs = [InputSpec(f"in{i}", s, DType.FLOAT32) for i, s in enumerate(shapes)]


def write(path, values, *, rate=16000, width=2, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(np.asarray(values, f"<i{width}").tobytes())


def load(folder, shape=(1, 8)):
    return load_data("d", Waveforms(shape), folder=folder)


@pytest.mark.parametrize("shape", [(1, 8), (1, 8, 1), (1, 1, 8, 1)])
def test_classes_scale_and_zeros_at_the_end(tmp_path, shape):
    write(tmp_path / "d/yes/b.wav", [32767, -32768, 0])
    write(tmp_path / "d/yes/a.WAV", range(8))
    write(tmp_path / "d/no/c.wav", [16384] * 8)
    (tmp_path / "d/no/notes.txt").write_text("no sound")
    data = load(tmp_path, shape)
    assert data.y.tolist() == [0, 1, 1] and data.classes == ("no", "yes")
    (x,) = match_inputs(data, Waveforms(shape).inputs)
    assert x.shape == (3, *shape) and x.dtype == np.float32
    assert x[0].reshape(-1).tolist() == [0.5] * 8
    assert x[2].reshape(-1).tolist() == [32767 / 32768, -1.0, *[0.0] * 6]


def test_without_classes(tmp_path):
    write(tmp_path / "d/a.wav", [1])
    assert load(tmp_path).y is None


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"values": [0] * 9}, "has 9 values, the model takes 8", "cut it as for training"),
        ({"values": [0] * 4, "channels": 2}, "16 bits and 2 channels", "ffmpeg"),
        ({"values": [0] * 4, "width": 4}, "32 bits and 1 channels", "ffmpeg"),
        ({"values": [0] * 4, "rate": 8000}, "16,000 samples a second, .*/b.wav 8,000", "ffmpeg"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, options, message, hint):
    write(tmp_path / "d/a.wav", [0])
    write(tmp_path / "d/b.wav", **options)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path)
    assert hint in caught.value.hint


def test_damaged_files(tmp_path):
    write(tmp_path / "d/a.wav", [1, 2, 3, 4])
    whole = (tmp_path / "d/a.wav").read_bytes()
    for content, message in ((whole[:-4], "it has only 4 B"), (b"RIFFnonsense", "not a WAV")):
        (tmp_path / "d/a.wav").write_bytes(content)
        with pytest.raises(InputError, match=message):
            load(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "takes"),
    [([(1, 49, 40, 1)], r"\[49, 40, 1\]"), ([(1, 8), (1, 8)], "several inputs")],
)
def test_a_model_that_takes_no_waveform(tmp_path, shapes, takes):
    write(tmp_path / "d/a.wav", [1])
    with pytest.raises(InputError, match=f"the model takes {takes}") as caught:
        load_data("d", Waveforms(*shapes), folder=tmp_path)
    assert "compute the features as for training" in caught.value.hint
