"""Models that users had: each is built and verified, or refused in words that help.

The files in ``tests/cases`` are of the kind that their folder names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgebuild
from edgebuild.cli.main import run as cli

CASES = Path(__file__).resolve().parents[1] / "cases"


def built(case, folder, target="cortex-m4"):
    report = edgebuild.build(CASES / case, target=target, out=folder, samples=3)
    assert report.passed and report.comparison.equal
    assert report.comparison.compared_bytes > 0
    return report


@pytest.mark.parametrize(
    "case",
    [
        "bias_axis/bias_axis3.tflite",
        "degenerate_softmax/kdead.tflite",
        "flatten_dynamic_batch/fio.tflite",
        "name_stdint/stdint.tflite",
    ],
)
def test_check_says_that_it_fits(case, capsys):
    assert cli(["check", str(CASES / case), "--target", "cortex-m4"]) == 0
    assert "fits cortex-m4" in capsys.readouterr().out


def test_bias_axis(tmp_path):
    """The quantized dimension of a bias is out of range, as in TFLite Micro's person detection."""
    report = built("bias_axis/bias_axis3.tflite", tmp_path)
    assert report.notes == ("built for a batch of 1 (the model's batch dimension is dynamic)",)


def test_degenerate_softmax(tmp_path):
    report = built("degenerate_softmax/kdead.tflite", tmp_path)
    assert any("its logits never differ" in note for note in report.notes)


def test_flatten_dynamic_batch(tmp_path):
    report = built("flatten_dynamic_batch/fio.tflite", tmp_path)
    assert not {"shape", "strided_slice", "pack"} & {layer.kind.lower() for layer in report.layers}
    given = (CASES / "flatten_dynamic_batch/fio.tflite").read_bytes()
    assert (Path(report.out_dir) / "model.tflite").read_bytes() == given


def test_name_stdint(tmp_path):
    """``stdint.h`` of the library would hide that of the compiler."""
    report = built("name_stdint/stdint.tflite", tmp_path)
    assert report.name == "model_stdint"
    assert any("would hide the header stdint.h" in note for note in report.notes)


@pytest.mark.parametrize(
    ("case", "kind", "origin"),
    [
        ("missing_ops/absop.tflite", "ABS", "keras.ops.absolute"),
        ("missing_ops/elu.tflite", "ELU", "activation='elu'"),
        ("missing_ops/l2n.tflite", "RSQRT", "LayerNormalization"),
        ("missing_ops/prelu.tflite", "PRELU", "PReLU"),
        ("missing_ops/redmax.tflite", "REDUCE_MAX", "GlobalMaxPooling"),
        ("missing_ops/redmin.tflite", "REDUCE_MIN", "keras.ops.min"),
        ("transpose_conv/t_tconv.tflite", "TRANSPOSE_CONV", "Conv2DTranspose"),
    ],
)
def test_missing_ops(case, kind, origin, capsys, tmp_path):
    """Check and build say the same of them, in words and as JSON."""
    said = []
    for command in (["check"], ["build", "--out", str(tmp_path)]):
        code = cli([command[0], str(CASES / case), "--target", "cortex-m4", *command[1:]])
        said.append(" ".join(capsys.readouterr().err.split()))
        assert code == 2
    assert said[0] == said[1]
    assert f"{kind} (" in said[0] and origin in said[0] and "did you mean" not in said[0]
    assert "TFLite Micro has this operator" in said[0]
    assert cli(["check", str(CASES / case), "--target", "cortex-m4", "--json"]) == 2
    facts = json.loads(capsys.readouterr().out)["error"]["unsupported"]
    assert [form["kind"] for form in facts["forms"]] == [kind]


def test_missing_formats(capsys):
    """Activations of int16 have no kernels: each layer says which formats were found."""
    path = CASES / "missing_ops/s_i16.tflite"
    assert cli(["check", str(path), "--target", "cortex-m4"]) == 2
    said = capsys.readouterr().err
    assert "3 of 4 operators have no kernel" in said
    assert "CONV_2D (int16, int8 per channel, int64 per channel -> int16)" in said
    assert "input and output are int8 with one scale each" in said
