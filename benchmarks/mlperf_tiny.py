"""MLPerf Tiny's six int8 models against TFLite Micro with CMSIS-NN and the published records.

Builds each model for each core and setting of ``--optimize``, runs it in the simulator (for the M55
in QEMU, which counts instructions), checks every output byte, and compares each figure with the
best of TFLite Micro's settings (``facts/tflm_cmsis_nn.json``) and cycles with the fewest that were
published for the core (``facts/mlperf_tiny_records.json``). Records come from real boards, wait
states included; ours are modelled, without them, and for the Cortex-M4 also with those of the
record's board, for ``speed`` also with the weights in its RAM, where they fit. Ratios below 1 are
in edgebuild's favour. The figures go to ``benchmarks/mlperf_tiny.json``, from which the README's
tables are made; a part that is measured again replaces the same part there.

    python benchmarks/mlperf_tiny.py [--models kws,ic02] [--targets cortex-m4] [--settings speed]
    python benchmarks/mlperf_tiny.py --variants   # cycles of other widths, sizes and strides
    python benchmarks/mlperf_tiny.py --readme     # writes and prints the README's tables
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mlperf_tiny_models import MODELS, PUBLIC, VARIANTS, made
from mlperf_tiny_readme import RESULTS, SETTINGS, TARGETS, read_rows, section, with_section

import edgebuild
from edgebuild.errors import CheckFailedError, OverflowedError
from edgebuild.ops import OPS
from edgebuild.report.model import Report
from edgebuild.tflite.reader import read_tflite_file

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TOOLCHAINS = ("zig", "gcc")
BOARDS = {"cortex-m4": "nucleo-l4r5zi"}
"""The board of a core's records, whose flash the simulator knows."""
OURS = {"ad01_int8": "ad01", "resnet8_int8": "resnet8", "kws_int8": "kws", "vww96_int8": "vww96"}
OURS |= {"sww": "str_ww"}
"""Models that the facts call by other names."""
PEER = {
    "cycles": "m4_cycles_model",
    "instructions": "instructions",
    "instructions_per_mac": "instructions_per_mac",
    "ram_bytes": "ram_bytes",
    "arena_bytes": "arena_bytes",
    "code_bytes": "code_bytes",
}
"""Figures that both have, with TFLite Micro's names for them."""
PARTS = ("target", "model", "optimize", "toolchain")
"""What a row is of."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """What others measured: figures by core and model, each with the name of who has it."""

    peers: Mapping[tuple[str, str], Mapping[str, float]]
    records: Mapping[tuple[str, str], tuple[int, str]]

    def against(self, core: str, model: str, figures: Mapping[str, float]) -> Iterator[Row]:
        """Yield each figure that somebody else has too, beside theirs."""
        peer = self.peers.get((core, model), {})
        for name, value in figures.items():
            if name in peer:
                yield _beside(name, value, "TFLite Micro", peer[name])
        cycles, source = self.records.get((core, model), (0, ""))
        for name, value in figures.items():
            if cycles and "cycles" in name:
                yield {**_beside(name, value, "record", cycles), "source": source}


def _beside(name: str, value: float, peer: str, theirs: float) -> Row:
    return {"figure": name, "peer": peer, "theirs": theirs, "ratio": round(value / theirs, 3)}


def read_facts(folder: Path) -> Facts:
    """Return TFLite Micro's best value of each figure over all settings, and the records."""
    peers: dict[tuple[str, str], dict[str, float]] = {}
    for row in json.loads((folder / "tflm_cmsis_nn.json").read_text())["rows"]:
        best = peers.setdefault((row["core"], OURS[row["model"]]), {})
        values = {name: row[key] for name, key in PEER.items() if key in row}
        values["flash_bytes"] = row["code_bytes"] + row["model_bytes"]
        for name, value in values.items():
            best[name] = min(value, best.get(name, value))
    records: dict[tuple[str, str], tuple[int, str]] = {}
    for core, model, cycles, source in _published(folder / "mlperf_tiny_records.json"):
        found = (cycles, source)
        records[core, model] = min(found, records.get((core, model), found))
    return Facts(peers, records)


def _published(path: Path) -> Iterator[tuple[str, str, int, str]]:
    """Yield core, model, cycles, and who published them; later rounds are written otherwise."""
    for board, rows in json.loads(path.read_text()).items():
        if isinstance(rows, list):
            for row in rows:
                source = f"{row['submitter']}, {row['round']}, {board}"
                yield _core(board), OURS[row["model"]], row["cycles"], source
        elif isinstance(rows, dict):
            for who, models in rows.items():
                for model, cycles in models.items() if isinstance(models, dict) else ():
                    ours = OURS[model] if model in OURS else str(model)
                    yield _core(who), ours, round(cycles), f"v1.4, {who}"


def _core(text: str) -> str:
    return text.split()[0].rstrip(",")


def build(
    path: Path, target: str, optimize: str, toolchain: str, place: Mapping[str, str] | None = None
) -> Report:
    """Return the report of a build whose outputs are TFLite Micro's, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        report = edgebuild.build(
            path,
            target=target,
            optimize=optimize,
            toolchain=toolchain,
            place=place,
            out=Path(folder) / "out",
        )
    assert report.comparison is not None and report.comparison.equal, (path, target, optimize)
    return report


def macs_of(path: Path) -> int:
    """Return a model's MACs, those of channels that edgebuild leaves out among them."""
    return sum(OPS[node.kind].macs(node) for node in read_tflite_file(path).nodes())


def figures(report: Report, macs: int) -> dict[str, float]:
    """Return what a build of a model of ``macs`` takes; the M55 has no cycles."""
    memory, flash, metrics = report.memory, report.flash, report.metrics
    found = {
        "cycles": report.run.get("cycles"),
        "instructions": report.run.get("instructions"),
        "ram_bytes": metrics.ram_bytes,
        "arena_bytes": memory["arena"],
        "stack_bytes": memory["stack"],
        "flash_bytes": metrics.flash_bytes,
    }
    values = {name: round(figure.value) for name, figure in found.items() if figure is not None}
    per_mac = round(values["instructions"] / macs, 3)
    code = round(flash["code"].value + flash["runtime"].value)
    return {**values, "instructions_per_mac": per_mac, "code_bytes": code}


def board_cycles(report: Report, name: str) -> dict[str, float]:
    """Return the bounds of the latency on a board in cycles of its clock, figures of this name."""
    latency, mhz = report.metrics.latency_us, report.target["cpu"]["clock_hz"] / 1e6
    assert latency is not None
    return {
        f"{name}_least": round(latency.least * mhz),
        f"{name}_most": round(latency.most * mhz),
    }


def model_path(shared: Path, model: str) -> Path:
    """Return the int8 ``.tflite`` of a model: the public file, or a made one."""
    public = shared / "models" / "mlperf_tiny" / f"{model}_int8.tflite"
    return public if model in PUBLIC else made(model)


def measure(path: Path, facts: Facts, part: Row) -> Row:
    """Return the row of one model, target and setting; what does not fit its flash says so."""
    target, setting, macs = part["target"], (part["optimize"], part["toolchain"]), macs_of(path)
    try:
        report = build(path, target, *setting)
        found = figures(report, macs)
        if target in BOARDS:
            board = BOARDS[target], *setting
            found |= board_cycles(build(path, *board), "board_cycles")
            with suppress(CheckFailedError):  # they do not fit
                if part["optimize"] == "speed":
                    copied = build(path, *board, {"weights": "ram"})
                    found |= board_cycles(copied, "board_ram_cycles")
    except OverflowedError as error:
        return {**part, "too_large": error.message}
    core = report.target["cpu"]["core"]
    against = list(facts.against(core, part["model"], found))
    return {**part, "macs": macs, **found, "against": against}


def merged(old: Iterable[Row], new: Row) -> list[Row]:
    """Return all rows in order, ``new`` in the place of the one that it measures again."""
    orders = (TARGETS, MODELS, SETTINGS, TOOLCHAINS)
    rows = {tuple(row[key] for key in PARTS): row for row in (*old, new)}

    def place(key: Sequence[str]) -> list[int]:
        return [order.index(value) for order, value in zip(orders, key, strict=True)]

    return [rows[key] for key in sorted(rows, key=place)]


def write(rows: Iterable[Row]) -> None:
    """Write the results, a row on each line."""
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def show(row: Row) -> None:
    """Print a line for each figure, with everybody else's beside it."""
    of = f"{row['target']:11} {row['model']:8} {row['optimize']:9} {row['toolchain']:4}"
    if "too_large" in row:
        print(f"{of} {row['too_large']}", flush=True)
        return
    for name, value in row.items():
        if name in PARTS or isinstance(value, list):
            continue
        theirs = [peer for peer in row["against"] if peer["figure"] == name]
        words = [f"{p['theirs']:12,} {p['ratio']:6.2f} {p['peer']}" for p in theirs]
        print(f"{of} {name:20} {value:12,} {' '.join(words)}", flush=True)


def show_variants(parts: Sequence[Row], shared: Path) -> None:
    """Print cycles per MAC of each variant beside those of the model that it varies."""
    for part in parts:
        setting = (part["target"], part["optimize"], part["toolchain"])
        named = cycles_per_mac(build(model_path(shared, part["model"]), *setting))
        print(f"{' '.join(setting)} {part['model']} {named:.3f} cycles per MAC", flush=True)
        for changes in VARIANTS[part["model"]]:
            changed = ", ".join(f"{key} {value}" for key, value in changes.items())
            try:
                varied = cycles_per_mac(build(made(part["model"], **changes), *setting))
                print(f"  {changed:24} {varied:7.3f} {varied / named - 1:+7.1%}", flush=True)
            except OverflowedError as error:
                print(f"  {changed:24} {error.message}", flush=True)


def cycles_per_mac(report: Report) -> float:
    """Return the cycles of a run for each MAC of the layers that are left."""
    return report.run["cycles"].value / sum(layer.macs for layer in report.layers)


def main() -> None:
    """Measure the parts that are asked for, print them and merge them into the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--toolchains", default="zig")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--variants", action="store_true", help="only print variants' cycles")
    what.add_argument(
        "--readme", action="store_true", help="only write and print the README's tables"
    )
    options = parser.parse_args()
    if options.readme:
        tables = section(read_rows())
        README.write_text(with_section(README.read_text(), tables))
        print(tables, end="")
        return
    chosen = (options.targets, options.models, options.settings, options.toolchains)
    parts = [
        dict(zip(PARTS, values, strict=True)) for values in product(*(c.split(",") for c in chosen))
    ]
    if options.variants:
        show_variants(parts, options.shared)
        return
    facts = read_facts(options.shared / "facts")
    for part in parts:
        row = measure(model_path(options.shared, part["model"]), facts, part)
        show(row)
        write(merged(read_rows(), row))


if __name__ == "__main__":
    main()
