"""Custom operators: what LiteRT's interpreter registers, and what becomes of the others."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from edgebuild.delegates.check import check_compatibility
from edgebuild.delegates.customs import LITERT_CUSTOMS, refuse_unknown_customs
from edgebuild.delegates.npu import COMPILED_OP
from edgebuild.errors import Exit, UnsupportedOperatorError
from edgebuild.targets import load_target
from edgebuild.tflite.writer import write_tflite
from tests.single_ops import Spec, t
from tests.unit.delegates.test_base import chain

EMPTY_MAP = {"custom_options": bytes([0, 0, 0x24, 1])}
UNPOOLING = Spec("CUSTOM MaxUnpooling2D", (t(), t(dtype="int32")), (t((1, 16, 16, 4)),), {})
RESAMPLER = Spec("CUSTOM Resampler", (t(), t((1, 8, 8, 2))), (t(),), {})
TARGETS = ("android-cpu", "android-gpu", "android-nnapi", "android-npu", "coral-usb")

LITERT = """
import json, sys
from ai_edge_litert.interpreter import Interpreter, OpResolverType
answers = {}
for name, model in json.load(sys.stdin).items():
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        Interpreter(
            model_content=bytes.fromhex(model), experimental_op_resolver_type=resolver
        ).allocate_tensors()
        answers[name] = ""
    except RuntimeError as error:
        answers[name] = str(error)
print(json.dumps(answers))
"""


def custom(name: str) -> Spec:
    return Spec(f"CUSTOM {name}", (t(),), (t(),), EMPTY_MAP)


def test_litert_registers_these_and_not_the_others():
    others = ("Mine", "FlexErf", "RandomUniform", "MaxUnpooling2D", "Resampler", "DISPATCH_OP")
    models = {n: write_tflite(custom(n).graph()).hex() for n in (*LITERT_CUSTOMS, *others)}
    done = subprocess.run(
        [sys.executable, "-c", LITERT], input=json.dumps(models), capture_output=True, text=True
    )
    answers = json.loads(done.stdout)
    words = ("unresolved custom op", "not supported by this interpreter")
    refused = {name for name, error in answers.items() if any(w in error for w in words)}
    assert refused == set(others)


def runs(spec: Spec, target: str) -> bool:
    graph = spec.graph()
    found = check_compatibility(graph, load_target(target))
    try:
        refuse_unknown_customs(graph, found, where="m.tflite")
    except UnsupportedOperatorError:
        assert found.verdicts[0].reason.endswith(": LiteRT's CPU has no kernel for it")
        return False
    assert "no kernel" not in found.verdicts[0].reason
    return True


@pytest.mark.parametrize(
    ("spec", "targets"),
    [
        (custom("Mine"), ()),
        (custom("FlexErf"), ()),
        *((custom(name), TARGETS) for name in LITERT_CUSTOMS),
        (Spec("CUMSUM", (t(),), (t(),), {}), TARGETS),
        # XNNPACK, which is LiteRT's on the CPU, takes it as float32 alone.
        (UNPOOLING, TARGETS),
        (dataclasses.replace(UNPOOLING, inputs=(t(dtype="int8"), t(dtype="int32"))), ()),
        (RESAMPLER, ("android-gpu",)),
        (custom(COMPILED_OP.removeprefix("CUSTOM ")), ("android-npu",)),
    ],
    ids=lambda value: value.kind if isinstance(value, Spec) else "",
)
def test_what_runs_somewhere(spec, targets):
    assert tuple(target for target in TARGETS if runs(spec, target)) == targets


def test_each_is_told():
    graph = chain(*[1] * 16)
    mine = graph.replace(ops=tuple(dataclasses.replace(op, kind="CUSTOM Mine") for op in graph.ops))
    found = check_compatibility(mine, load_target("android-cpu"))
    with pytest.raises(UnsupportedOperatorError) as caught:
        refuse_unknown_customs(mine, found, where="m.tflite")
    error = caught.value
    assert error.exit_code == Exit.BAD_INPUT
    assert error.message == "m.tflite: no runtime at hand has 15 of the model's custom operators"
    forms = error.facts["unsupported"]["forms"]
    assert sum(len(form["places"]) for form in forms) == 15
    assert error.details[0].startswith("15 x CUSTOM Mine (int8 -> int8), operators 0, 1, ")
    assert " and 11 more: XNNPACK has no CUSTOM Mine" in error.details[0]


def test_many_kinds_are_counted():
    graph = chain(*[1] * 61)
    kinds = (dataclasses.replace(op, kind=f"CUSTOM C{n}") for n, op in enumerate(graph.ops))
    mine = graph.replace(ops=tuple(kinds))
    found = check_compatibility(mine, load_target("android-cpu"))
    with pytest.raises(UnsupportedOperatorError) as caught:
        refuse_unknown_customs(mine, found, where="m.tflite")
    whole = caught.value.facts["unsupported"]["forms"]
    assert len(whole) == 60 and len(caught.value.details) == 41
    assert caught.value.details[-1].endswith(" more lines; --json lists all")
