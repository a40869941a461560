"""The tables as data: vocabulary, documentation, and operators of any form."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgebuild.delegates import gpu, nnapi, npu, xnnpack
from edgebuild.delegates.document import with_tables
from edgebuild.delegates.table import Table, load_raw, load_table
from edgebuild.delegates.vocabulary import WORDS, Setting, tensors_of
from edgebuild.errors import InternalError
from edgebuild.graph import ABSENT, DType, Graph, Op, Quantization, Tensor
from edgebuild.profile import Delegate
from edgebuild.targets import load_target
from tests.single_ops import base

NAMES = ("xnnpack", "gpu", "gpu_delegate", "nnapi")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "delegates.md"


@pytest.mark.parametrize("name", NAMES)
def test_tables_name_their_source_and_known_words(name):
    table = load_table(name)
    assert "google-ai-edge/LiteRT" in table.source
    for constraints in table.ops.values():
        assert all(c.sentence and "{" not in c.sentence for c in constraints)


def test_every_word_is_used():
    used = {
        limit.word.name
        for name in NAMES
        for constraints in load_table(name).ops.values()
        for c in constraints
        for limit in (c, c.where)
        if limit is not None
    }
    assert set(WORDS) - used == set()


def test_the_page_is_in_step():
    page = PAGE.read_text()
    assert page == with_tables(page), "run: python scripts/delegates_doc.py"


def test_a_table_that_uses_an_unknown_word_is_refused(monkeypatch):
    load_table.cache_clear()
    broken = {"name": "x", "source": "", "notes": [], "ops": {"ADD": [["colour", "red"]]}}
    monkeypatch.setattr("edgebuild.delegates.table.load_raw", lambda name: broken)
    with pytest.raises(InternalError, match=r"x\.json: ADD: \['colour', 'red'\]"):
        load_table("x")
    load_table.cache_clear()


def test_operands():
    (node,) = base("CONV_2D").graph().nodes()
    assert len(tensors_of(node, "inputs and outputs")) == 4
    assert [t.shape for t in tensors_of(node, "the inputs from 1")] == [(6, 3, 3, 4), (6,)]
    assert tensors_of(node, "input 7") == []
    assert [len(t.shape) for t in tensors_of(node, "input 0 and output 0")] == [4, 4]


def _odd_graphs(kind, seed):
    """Yield graphs of one operator with any number of inputs, shapes, types and no options."""
    rng = np.random.default_rng(seed)
    dtypes = list(DType)
    for count in range(6):
        shapes = [tuple(rng.integers(0, 4, rng.integers(0, 8))) for _ in range(count + 1)]
        tensors = {}
        for i, shape in enumerate(shapes):
            dtype = dtypes[rng.integers(len(dtypes))]
            size = tuple(int(d) for d in shape)
            data = None
            if (
                i
                and rng.random() < 0.5
                and dtype not in ("string", "resource", "variant", "bfloat16")
            ):
                data = np.zeros(size, dtype.numpy)
            quantized = Quantization((0.5,), (0,)) if rng.random() < 0.5 else None
            tensors[i] = Tensor(i, f"t{i}", size, dtype, quantized, data)
        tensors[99] = Tensor(99, "out", (1, 2), dtypes[rng.integers(len(dtypes))])
        inputs = tuple(ABSENT if i and rng.random() < 0.2 else i for i in range(count))
        op = Op(kind, inputs, (99,), {}, 0, int(rng.integers(1, 12)))
        yield Graph("odd", (0,), (99,), (op,), tensors)


CHECKS = {
    "xnnpack": (xnnpack.check, Delegate("xnnpack")),
    "gpu": (gpu.check, Delegate("gpu")),
    "nnapi 27": (nnapi.check, Delegate("nnapi", feature_level=27)),
    "nnapi 8": (nnapi.check, Delegate("nnapi", feature_level=1_000_008)),
    "npu": (npu.check, Delegate("npu", vendor="qualcomm", soc="SM8750")),
}


@pytest.mark.parametrize("check", CHECKS)
def test_operators_of_any_form_get_a_verdict(check):
    """A model is untrusted: no form of an operator may raise."""
    function, delegate = CHECKS[check]
    kinds = sorted({kind for name in NAMES for kind in load_table(name).ops} | {"IF", "CUSTOM x"})
    for seed, kind in enumerate(kinds):
        for graph in itertools.chain(_odd_graphs(kind, seed), _odd_graphs(kind, seed + 1000)):
            (verdict,) = function(graph, delegate).verdicts
            assert isinstance(verdict.reason, str)


def test_shipped_targets_answer():
    from edgebuild.delegates.check import check_compatibility

    graph = base("CONV_2D", "int8").graph()
    for name in ("android-cpu", "android-gpu", "android-nnapi-30", "android-npu"):
        found = check_compatibility(graph, load_target(name))
        assert found.sources and len(found.verdicts) == 1
        assert bool(found.fallbacks) == (name == "android-npu")


def test_a_feature_level_of_the_runtime_is_read(tmp_path):
    file = tmp_path / "phone.toml"
    file.write_text(
        'schema = 1\nname = "phone"\nbased_on = "android-nnapi"\ndescription = "x"\n'
        "[delegate]\nfeature_level = 1000007\n"
    )
    assert load_target(str(file)).delegate.feature_level == 1_000_007


def test_raw_tables_say_what_was_corrected():
    assert any("Corrected against LiteRT" in note for note in load_raw("xnnpack")["corrections"])
    assert load_raw("gpu")["corrections"] and load_raw("nnapi")["corrections"]


def test_table_reasons_join_all_broken_limits():
    table = load_table("gpu_delegate")
    assert isinstance(table, Table)
    (node,) = base("ABS", "int16").graph().nodes()
    assert table.reason(node, Setting()).count("must be") == 1
