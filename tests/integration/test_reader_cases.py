"""Models that users had: each is built and verified, or refused in words that help.

The files in ``tests/cases`` are of the kind that their folder names.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import edgebuild
from edgebuild.cli.main import run as cli
from tests.small import small_model

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
    assert "TFLite Micro supports this operator" in said[0]
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


@pytest.mark.keras
def test_attention_layernorm_embedding(tmp_path, capsys):
    """All that has no kernel is told at once, by both in the same words, with its layers."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    tokens = keras.Input((8,), dtype="int32")
    x = layers.Embedding(20, 8)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.GlobalMaxPooling1D()(layers.Dense(8, activation="gelu")(x))
    keras.Model(tokens, layers.Dense(2)(x)).save(tmp_path / "net.keras")
    said = []
    for command in (["check"], ["build", "--out", str(tmp_path / "build")]):
        model = [str(tmp_path / "net.keras"), "--target", "cortex-m4", "--data", "random"]
        assert cli([command[0], *model, *command[1:], "--json"]) == 2
        said.append(json.loads(capsys.readouterr().out)["error"])
    assert said[0] == said[1]
    words = " ".join(said[0]["details"])
    kinds = {form["kind"] for form in said[0]["unsupported"]["forms"]}
    assert {"BATCH_MATMUL", "RSQRT", "SQUARED_DIFFERENCE", "GELU", "GATHER", "REDUCE_MAX"} <= kinds
    for layer in ("MultiHeadAttention", "LayerNormalization", "Embedding", "activation='gelu'"):
        assert layer in words
    assert "did you mean" not in words


TWO = """
#include "first.h"
#include "second.h"
static _Alignas(16) unsigned char a[FIRST_ARENA_BYTES], b[SECOND_ARENA_BYTES];
int main(void) {
  return first_init(a, sizeof a) | second_init(b, sizeof b) | first_run(a) | second_run(b);
}
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Two models as libraries for one target."""
    folder = tmp_path_factory.mktemp("libraries")
    for number, name in enumerate(("first", "second")):
        model = folder / f"{name}.tflite"
        model.write_bytes(small_model(channels=8 + 4 * number, seed=number))
        edgebuild.build(model, target="host", out=folder / "build", run="none")
    return [folder / "build" / f"{name}-host" / "lib" for name in ("first", "second")]


def compiled(folder, *includes):
    """Compile ``main.c`` and every file below ``folder``; return the compiler's result."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    (folder / "main.c").write_text(TWO)
    paths = [f"-I{folder / path}" for path in includes]
    sources = sorted(str(path) for path in folder.rglob("*.c"))
    command = [gcc, "-std=c11", *paths, *sources, "-lm", "-o", str(folder / "main")]
    return subprocess.run(command, capture_output=True, text=True)


def test_two_models(libraries, tmp_path):
    """They share kernels: compiled twice these clash, in one folder they do not."""
    for number, library in enumerate(libraries):
        shutil.copytree(library, tmp_path / "apart" / str(number))
        shutil.copytree(library, tmp_path / "together", dirs_exist_ok=True)
    shared = [path.relative_to(libraries[0]) for path in libraries[0].rglob("*.[ch]")]
    shared = [path for path in shared if (libraries[1] / path).exists()]
    assert len(shared) > 5
    for path in shared:
        assert (libraries[0] / path).read_bytes() == (libraries[1] / path).read_bytes()
    done = compiled(tmp_path / "together")
    assert done.returncode == 0, done.stderr
    assert subprocess.run([str(tmp_path / "together" / "main")]).returncode == 0
    clash = compiled(tmp_path / "apart", "0", "1")
    assert clash.returncode != 0 and "multiple definition of" in clash.stderr
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    assert "share their kernels too: copy their `lib/` folders into one" in readme


def test_arduino_layout(libraries, tmp_path):
    """Every file finds what it includes by the way to it, wherever the folder lies."""
    for library in libraries:
        shutil.copytree(library, tmp_path / "sketch" / "src" / "deep", dirs_exist_ok=True)
    done = compiled(tmp_path / "sketch", "src/deep")
    assert done.returncode == 0, done.stderr
