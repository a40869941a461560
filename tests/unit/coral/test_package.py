"""Decoding what the Edge TPU compiler wrote, and refusing what it did not."""

import json
import random
import struct

import pytest

from edgebuild.coral import tables
from edgebuild.coral.package import CUSTOM_OP, decode_package, read_packages
from edgebuild.delegates.edgetpu import is_compiled
from edgebuild.errors import ModelError
from edgebuild.tflite.reader import read_tflite_file
from tests.small import small_graph
from tests.unit.coral.pairs import PAIRS, graph_of, truth


@pytest.mark.models
@pytest.mark.parametrize("name", PAIRS)
def test_parameters_and_runtime_are_those_of_the_truth(public_coral_dir, name):
    (package,) = read_packages(graph_of(public_coral_dir, name, compiled=True))
    known = truth(public_coral_dir)[name]
    assert package.cached_bytes == known["param_bytes_cached"]
    assert package.streamed_bytes == known["param_bytes_streamed"]
    assert package.min_runtime == known["min_runtime"]
    assert [e.type for e in package.executables] == ["execution-only", "parameter-caching"]
    assert {e.chip for e in package.executables} == {"beagle"}
    assert len({e.caching_token for e in package.executables}) == 1
    json.dumps(package.to_json())


@pytest.mark.models
@pytest.mark.parametrize("name", PAIRS)
def test_layers_are_the_tensors_of_the_custom_operator(public_coral_dir, name):
    graph = graph_of(public_coral_dir, name, compiled=True)
    (package,) = read_packages(graph)
    run = package.executables[0]
    node = graph.node(package.position)
    tensors = {t.name: t for t in (*node.inputs, *node.outputs) if not t.is_variable}
    layers = {layer.name: layer for layer in (*run.inputs, *run.outputs)}
    assert set(tensors) <= set(layers)
    for label, tensor in tensors.items():
        layer = layers[label]
        assert layer.shape[0] * layer.shape[1] * layer.shape[2] == tensor.elements
        assert layer.dtype == tensor.dtype.value
        assert layer.scale == pytest.approx(tensor.scale)


@pytest.mark.models
def test_batch_instructions_and_compiler(public_coral_dir):
    (package,) = read_packages(graph_of(public_coral_dir, "split_concat", compiled=True))
    assert package.compiler == "cl/343520747"
    assert package.executables[0].batch_size == 1
    assert package.executables[0].instruction_bytes == 23648
    assert package.executables[0].estimated_cycles is None


def test_a_made_package_says_what_was_written(made_coral_dir):
    graph = graph_of(made_coral_dir, "split_concat", compiled=True)
    (package,) = read_packages(graph)
    run, caching = package.executables
    assert (run.type, caching.type) == ("execution-only", "parameter-caching")
    assert (package.cached_bytes, package.streamed_bytes, package.min_runtime) == (192, 0, 14)
    assert [layer.shape for layer in run.inputs] == [(8, 8, 3), (8, 8, 1), (8, 8, 2)]
    assert {layer.dtype for layer in (*run.inputs, *run.outputs)} == {"uint8"}
    assert (run.batch_size, run.instruction_bytes, run.estimated_cycles) == (1, 4224, None)
    assert run.caching_token == caching.caching_token == "fce222d70d502fb8"
    json.dumps(package.to_json())


def test_an_ordinary_model_has_no_package():
    graph = small_graph()
    assert not is_compiled(graph)
    assert read_packages(graph) == ()


def _options(coral_dir, name="dense_256"):
    path = coral_dir / f"{name}_edgetpu.tflite"
    graph = read_tflite_file(path)
    return next(op.attrs["custom_options"] for op in graph.ops if op.kind == CUSTOM_OP)


def _places(options, monkeypatch):
    """Return every byte that the decoder looks at, the payloads left out."""
    seen = set()
    starts = {}
    honest = tables._read

    def recorded(data, form, at):
        start = starts.setdefault(data, options.find(data))
        seen.update(range(start + at, start + at + struct.calcsize(form)))
        return honest(data, form, at)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "_read", recorded)
        decode_package(options)
    return sorted(seen)


@pytest.mark.parametrize("name", ["dense_256", "split_concat"])
def test_flipped_bits_are_refused_or_read(coral_dir, name, monkeypatch):
    """Nothing but ModelError comes out of a damaged package."""
    options = _options(coral_dir, name)
    rng = random.Random(5)
    places = _places(options, monkeypatch)
    refused = 0
    for _ in range(1200):
        damaged = bytearray(options)
        for _ in range(rng.choice((1, 1, 4))):
            damaged[rng.choice(places)] ^= 1 << rng.randrange(8)
        try:
            decode_package(bytes(damaged))
        except ModelError as error:
            refused += 1
            assert "is damaged" in error.message
    assert refused > 200


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 1000, 50_000, -1, -2, -60])
def test_truncated_packages_are_refused(coral_dir, cut):
    with pytest.raises(ModelError, match=r"package of operator 3 is damaged"):
        decode_package(_options(coral_dir)[:cut], position=3, where="m.tflite")


def test_other_options_are_refused():
    with pytest.raises(ModelError, match="not a flexbuffer map"):
        decode_package(b"\0" * 64)
