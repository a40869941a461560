"""The host as a target."""

from __future__ import annotations

from edgebuild.backends import backend_for
from edgebuild.targets import load_target
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import make_samples
from tests.small import small_model


def test_a_shared_library_that_computes(tmp_path):
    model = small_model()
    graph = read_tflite(model, name="small", where="small.tflite")
    profile = load_target("host")
    backend = backend_for(profile.family)
    emitted = backend.emit(graph, graph, model, "small", profile)
    assert {"lib/small.c", "model_data.cc", "model_data.h"} <= set(emitted.files)
    assert not any(path.endswith("_dsp.c") for path in emitted.files)
    assert emitted.tflm_arena is None
    made = backend.compile(emitted, profile, "zig", tmp_path, lambda _: None)
    assert (made.flash_bytes, made.static_ram_bytes, made.image) == (None, None, None)
    assert made.flash == {} and made.toolchain == "zig (native)"
    samples = make_samples(graph, 4, seed=2)
    result = made.open_device("host").run(samples)
    assert result.outputs == run_oracle(model, samples).outputs
    assert any(tmp_path.iterdir())
