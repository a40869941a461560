"""What others build on changes only with its number: JSON keys, the C interface, exit codes.

``python -m tests.unit.test_versions`` records what there is now in ``versions.json``, below the
numbers of ``edgebuild/versions.py``.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgebuild import versions
from edgebuild.backends.emit import emit_library
from edgebuild.cli.failures import failure_json
from edgebuild.errors import Exit, InputError
from edgebuild.figures import Figure
from edgebuild.pipeline.forecast import forecast
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.report.model import Report
from edgebuild.search.problem import Outcome
from edgebuild.search.run import Found
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.reader import read_tflite
from tests.small import small_model

RECORD = Path(__file__).parent / "versions.json"
ROOT = Path(__file__).parents[2]
NOT_WRITTEN = {"Report.out_dir", "Report.cached"}
RELEASED = {"json": 1, "c": 0, "exit_codes": 0}
"""The numbers of edgebuild 0.1.0; 0 where it had none."""

HOW = (
    "raise the number in edgebuild/versions.py unless it is above the released one already "
    f"({RELEASED}), say in the changelog what users must do, and record it: "
    "python -m tests.unit.test_versions"
)


def keys_of(kind: Any, path: str, above: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the path of each key below a type as JSON has it; ``[]`` for lists, ``*`` for names.

    A type inside itself (one of those ``above``) is named once.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Figure:
        yield from (f"{path}.{name}" for name in ("value", "unit", "how", "source", "low", "high"))
    elif kind in above:
        return
    elif dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if f"{kind.__name__}.{field.name}" in NOT_WRITTEN:
                continue
            yield f"{path}.{field.name}"
            yield from keys_of(hints[field.name], f"{path}.{field.name}", (*above, kind))
    elif origin in (types.UnionType, typing.Union):
        for argument in arguments:
            yield from keys_of(argument, path, above)
    elif origin in (tuple, list, Sequence):
        yield from keys_of(arguments[0], f"{path}[]", above)
    elif origin in (dict, Mapping):
        yield from keys_of(arguments[1], f"{path}.*", above)


def json_keys() -> list[str]:
    """Return the keys of reports, locks, forecasts, searches and failures."""
    found = {"report.schema", "report.passed", *keys_of(Report, "report")}
    found |= {*keys_of(Found, "search"), *keys_of(Outcome, "search.front[]")}
    found |= {f"error.{key}" for key in failure_json(InputError(""))}
    found |= {f"lock.{key}" for key in ("schema", "plan_sha256", "plan", "artifacts", "compiler")}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "small.tflite"
        model.write_bytes(small_model())
        for target in ("cortex-m4", "android-cpu"):
            request = BuildRequest(model, target)
            found |= {f"check.{key}" for key in forecast(request).to_json()}
            found |= {f"lock.plan.{key}" for key in make_plan(request).to_json()}
    return sorted(found)


def c_declarations() -> list[str]:
    """Return the lines of the runtime's header and of a small model's, without comments."""
    library = emit_library(read_tflite(small_model()), "net", CpuFeatures()).files
    text = "".join(library[f"lib/{name}"] for name in ("edgebuild/eb.h", "net.h"))
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return [line for row in plain.splitlines() if (line := " ".join(row.split()))]


def current() -> dict[str, Any]:
    """Return the numbers of today with what they stand for."""
    return {
        "json": {"version": versions.JSON_SCHEMA, "keys": json_keys()},
        "c": {"version": versions.C_INTERFACE, "declarations": c_declarations()},
        "exit_codes": {"version": versions.EXIT_CODES, "codes": {e.name: int(e) for e in Exit}},
    }


@pytest.mark.parametrize(("part", "content"), [
    ("json", "keys"), ("c", "declarations"), ("exit_codes", "codes"),
])  # fmt: skip
def test_what_is_recorded_is_what_there_is(part, content):
    recorded, now = json.loads(RECORD.read_text())[part], current()[part]
    assert now["version"] > RELEASED[part]
    before, after = ({str(x) for x in rows} for rows in (recorded[content], now[content]))
    assert recorded == now, (
        f"{part} changed: gone {sorted(before - after)}, new {sorted(after - before)}; {HOW}"
    )


def test_the_numbers_are_where_users_read_them():
    header = (ROOT / "firmware/runtime/edgebuild/eb.h").read_text()
    assert f"#define EB_INTERFACE_VERSION {versions.C_INTERFACE}\n" in header
    docs = (ROOT / "docs/versions.md").read_text()
    assert f"`schema`, now **{versions.JSON_SCHEMA}**" in docs
    assert f"`EB_INTERFACE_VERSION`, now **{versions.C_INTERFACE}**" in docs
    assert f"Version **{versions.EXIT_CODES}**:" in docs
    for code in Exit:
        assert f"\n| {int(code)} | " in docs, code


def test_a_change_is_in_the_changelog():
    changes = " ".join((ROOT / "CHANGELOG.md").read_text().split())
    assert f"schema {versions.JSON_SCHEMA}" in changes
    assert f"`EB_INTERFACE_VERSION` {versions.C_INTERFACE}" in changes


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=1) + "\n")
