"""Which operators LiteRT's NNAPI delegate takes, by NNAPI's feature level."""

from __future__ import annotations

from edgebuild.delegates.base import Compatibility, compatibility
from edgebuild.delegates.float16 import fold_float16, unpacks_float16
from edgebuild.delegates.table import load_raw, load_table
from edgebuild.delegates.vocabulary import Setting, level_name
from edgebuild.graph import Graph
from edgebuild.profile import Delegate

MAX_PARTITIONS = 3
"""The delegate's default of ``max_number_delegated_partitions``."""

_OLDEST = 27
_DRIVERS_ARE_ASKED = 29


def check(graph: Graph, delegate: Delegate) -> Compatibility:
    """Return what NNAPI makes of ``graph`` at the delegate's feature level."""
    table, asked = load_table("nnapi"), delegate.feature_level or _OLDEST
    level = runtime_level(asked)
    setting = Setting(level=level)
    notes = [*table.notes, f"Checked at {level_name(level)}."]
    if level != asked:
        notes.append(
            f"Android API level {asked} guarantees only {level_name(level)}, as the runtime is "
            "updated apart from Android. Where a phone reports more, give its profile "
            "delegate.feature_level = 1000006, 1000007 or 1000008."
        )
    if level >= _DRIVERS_ARE_ASKED and any(map(unpacks_float16, graph.nodes())):
        notes.append(
            "Where a phone's driver refuses one operator of a model with float16 weights, NNAPI "
            "runs none of it."
        )
    folded, reasons = fold_float16(
        graph, lambda seen: [table.reason(node, setting) for node in seen.nodes()]
    )
    return compatibility(
        folded,
        "NNAPI",
        reasons,
        max_partitions=MAX_PARTITIONS,
        sources=[table.source, load_raw("nnapi")["levels_source"]],
        notes=notes,
    )


def runtime_level(feature_level: int) -> int:
    """Return the level that the delegate compares: what an Android API level guarantees, at least,
    or a feature level from 1000006 on itself."""
    levels = {int(key): value for key, value in load_raw("nnapi")["levels"].items()}
    return max((levels[key] for key in levels if key <= feature_level), default=_OLDEST)
