"""Predicted against linked sizes of code; the figures go to ``benchmarks/code_sizes.json``.

Every model of ``tests/corpus`` that generated C can run, and those of ``tests.made_models`` where
``--made FOLDER`` has them, each with one core and one compiler; the default one takes every other.
The bar: a model's flash, and that of the benchmark firmware, within the bounds that ``check`` says.

    python benchmarks/code_sizes.py [--made FOLDER] [--models 160]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from measure_code import TOOLS, linked_sizes, target_for  # noqa: E402

from edgebuild.backends.emit import emit_library  # noqa: E402
from edgebuild.code_size import predict_code  # noqa: E402
from edgebuild.codegen.c_library import constant_bytes  # noqa: E402
from edgebuild.codegen.names import c_identifier  # noqa: E402
from edgebuild.errors import EdgebuildError  # noqa: E402
from edgebuild.graph import Graph  # noqa: E402
from edgebuild.passes import supported_graph  # noqa: E402
from edgebuild.profile import CORES  # noqa: E402
from edgebuild.tflite.reader import read_tflite  # noqa: E402
from tests.corpus.files import tflite_cases  # noqa: E402

RESULTS = ROOT / "benchmarks" / "code_sizes.json"


def graphs(made: Path | None) -> Iterator[tuple[str, Graph]]:
    """Yield the models that generated C can run, by name."""
    files = [(case.name, case.content) for case in tflite_cases()]
    found = sorted(made.glob("*_int8.tflite")) if made is not None else []
    files = [*((path.stem, path.read_bytes()) for path in found), *files]
    for name, content in files:
        try:
            read = read_tflite(content, name=name, where=name)
            yield name, supported_graph(read, where=name).graph
        except EdgebuildError:
            continue  # refused, as it is by a build


def compare(name: str, graph: Graph, core: str, tool: str) -> dict[str, Any] | None:
    """Return what is predicted and what is linked, in B; None where a build refuses the model."""
    target = target_for(core)
    assert target.firmware is not None
    identifier = c_identifier(name)
    try:
        emitted = emit_library(graph, identifier, target.cpu.features)
        with tempfile.TemporaryDirectory(prefix="edgebuild-sizes-") as folder:
            code, application, ram = linked_sizes(emitted, target, tool, Path(folder))
    except EdgebuildError:
        return None
    told = predict_code(
        *(emitted.graph, emitted.calls, emitted.plan, identifier),
        core=core,
        port=target.firmware.port,
        tool=tool,
    )
    pairs = (
        ("code", told.model, code),
        ("application", told.application, application),
        ("application_ram", told.application_ram, ram),
    )
    row: dict[str, Any] = {"model": name, "core": core, "tool": tool}
    row |= {"operators": len(graph.ops), "constants": constant_bytes(emitted.graph, emitted.calls)}
    for what, part, known in pairs:
        inside = part.low <= known <= part.high
        row[what] = {"predicted": part.value, "linked": known, "inside": inside}
    row["outside"] = [what for what, _, _ in pairs if not row[what]["inside"]]
    row["error_bytes"] = told.model.value - code
    row["error"] = round(told.model.value / code - 1, 4)
    print(
        f"{name:40} {core:13} {tool:8} {code:7,} B {row['error']:+7.2%}"
        + (f"  OUTSIDE: {', '.join(row['outside'])}" if row["outside"] else ""),
        flush=True,
    )
    return row


def main() -> None:
    """Compare, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--made", type=Path)
    parser.add_argument("--models", type=int, default=160)
    options = parser.parse_args()
    every = list(graphs(options.made))
    step = max(1, len(every) // options.models)
    others = [tool for tool in TOOLS if tool != TOOLS[0]]
    rows = []
    for number, (name, graph) in enumerate([*every[:4], *every[4::step]]):
        core = list(CORES)[number % len(CORES)]
        tool = TOOLS[0] if number % 2 else others[number // 2 % len(others)]
        row = compare(name, graph, core, tool)
        rows += [row] if row is not None else []
    errors = [abs(row["error"]) for row in rows]
    outside = sum(bool(row["outside"]) for row in rows)
    flash = [abs(r["error_bytes"]) / (r["code"]["linked"] + r["constants"]) for r in rows]
    result = {
        "models": len(rows),
        "outside": outside,
        "mean_error": round(sum(errors) / len(errors), 4),
        "worst_error": max(errors),
        "worst_error_bytes": max(abs(row["error_bytes"]) for row in rows),
        "worst_error_of_flash": round(max(flash), 4),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print({key: value for key, value in result.items() if key != "rows"})
    sys.exit(int(outside > 0))


if __name__ == "__main__":
    main()
