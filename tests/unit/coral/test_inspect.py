"""``edgebuild inspect`` of a compiled model."""

import json

import pytest
from click.testing import CliRunner

from edgebuild.cli.inspect import command
from edgebuild.errors import ModelError


@pytest.mark.models
def test_the_package_is_shown(public_coral_dir):
    path = public_coral_dir / "movenet_single_pose_lightning_ptq_edgetpu.tflite"
    done = CliRunner().invoke(command, [str(path)])
    assert done.exit_code == 0, done.output
    assert "parameters: 2,862,656 B cached on chip, 2,368 B streamed" in done.output
    assert "runtime 12 or newer" in done.output
    assert "GATHER_ND" in done.output
    assert "int8 48x48x17" in done.output


def test_the_package_as_json(coral_dir):
    path = coral_dir / "dense_256_edgetpu.tflite"
    done = CliRunner().invoke(command, [str(path), "--json"])
    found = json.loads(done.output)
    assert found["cpu_operators"] == {}
    assert found["packages"][0]["cached_bytes"] == 67584


def test_a_damaged_package_is_explained(coral_dir, tmp_path):
    data = bytearray((coral_dir / "dense_256_edgetpu.tflite").read_bytes())
    at = data.index(b"DWN1")
    data[at : at + 4] = b"DWN2"
    path = tmp_path / "m_edgetpu.tflite"
    path.write_bytes(data)
    done = CliRunner().invoke(command, [str(path)])
    assert isinstance(done.exception, ModelError)
    assert "no 'DWN1' identifier" in done.exception.message
