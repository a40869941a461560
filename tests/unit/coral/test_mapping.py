"""The six pairs: what is said without the compiler against what the compiler did."""

from collections import Counter

import pytest

from edgebuild.coral.package import CUSTOM_OP
from edgebuild.delegates.edgetpu import cocompile, edgetpu_compatibility
from tests.unit.coral.pairs import PAIRS, graph_of, parameter_blocks, truth

pytestmark = pytest.mark.models


@pytest.mark.parametrize("name", PAIRS)
def test_operators_mapped_and_left_are_those_of_the_truth(public_coral_dir, name):
    found = edgetpu_compatibility(graph_of(public_coral_dir, name))
    known = truth(public_coral_dir)[name]
    assert Counter(v.kind for v in found.verdicts if v.delegated) == known["mapped"]
    assert Counter(v.kind for v in found.fallbacks) == known["remaining_on_cpu"]


@pytest.mark.parametrize("name", PAIRS)
def test_each_operator_that_is_left_is_in_the_compiled_model(public_coral_dir, name):
    """Operators keep their outputs' names, so their places are known."""
    found = edgetpu_compatibility(graph_of(public_coral_dir, name))
    compiled = graph_of(public_coral_dir, name, compiled=True)
    left = [(n.kind, n.output.name) for n in compiled.nodes() if n.kind != CUSTOM_OP]
    assert sorted((v.kind, v.name) for v in found.fallbacks) == sorted(left)


@pytest.mark.parametrize("name", PAIRS)
def test_parameter_bytes_are_the_compilers(public_coral_dir, name):
    found = edgetpu_compatibility(graph_of(public_coral_dir, name))
    known = truth(public_coral_dir)[name]
    assert found.cached_bytes.value == known["param_bytes_cached"]
    assert found.streamed_bytes.value == known["param_bytes_streamed"]
    assert found.uncached == ()


@pytest.mark.parametrize("name", PAIRS[3:])
def test_each_layer_has_its_block_in_the_parameter_stream(public_coral_dir, name):
    """Layers that are spread over tiles have several blocks; all others have one of their size."""
    layers = edgetpu_compatibility(graph_of(public_coral_dir, name)).layers
    blocks = Counter(parameter_blocks(public_coral_dir, name))
    spread = 0
    for layer in layers:
        if blocks[layer.cacheable]:
            blocks[layer.cacheable] -= 1
        elif layer.cacheable:
            spread += layer.cacheable
    assert sum(size * count for size, count in blocks.items()) == spread
    assert spread < 0.6 * sum(layer.cacheable for layer in layers)


def test_all_six_fit_on_the_chip_together(public_coral_dir):
    plans = cocompile([graph_of(public_coral_dir, name) for name in PAIRS])
    assert [p.cached_bytes for p in plans] == [
        truth(public_coral_dir)[name]["param_bytes_cached"] for name in PAIRS
    ]
