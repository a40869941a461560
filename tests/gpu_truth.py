"""The verdicts of TensorFlow's GPU compatibility analyzer, asked for or recorded."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild.delegates.gpu import compatibility_reason
from edgebuild.delegates.table import load_raw
from edgebuild.tflite.reader import read_tflite

CHILD = Path(__file__).with_name("gpu_analyzer.py")
GOLDEN = Path(__file__).parent / "unit" / "delegates" / "gpu_analyzer.json"
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Recorded:
    """The analyzer's messages by model and operator, with what they were recorded for."""

    version: str
    messages: Mapping[str, Mapping[str, str]]
    operators: Mapping[str, int]
    digests: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values: {name: [digest, messages]}."""
        verdicts = {name: [self.digests[name], found] for name, found in self.messages.items()}
        return {"tensorflow": self.version, "verdicts": verdicts}


@dataclass(frozen=True)
class Difference:
    """An operator on which table and analyzer disagree; explained where LiteRT is newer."""

    text: str
    explained: bool


def digest(model: bytes) -> str:
    """Return what tells that a recorded verdict is of this very model."""
    graph = read_tflite(model)
    return hashlib.sha256(graph.fingerprint().encode()).hexdigest()[:8]


def analyze(python: str, models: Mapping[str, bytes]) -> Recorded:
    """Ask the analyzer of the TensorFlow that ``python`` has."""
    packed = b"".join(struct.pack("<Q", len(m)) + m for m in models.values())
    done = subprocess.run(
        [python, str(CHILD)], input=packed, capture_output=True, timeout=_TIMEOUT_S, check=True
    )
    lines = done.stdout.decode().splitlines()
    (version,) = [line.split()[1] for line in lines if line.startswith("version ")]
    answers = [json.loads(line[4:]) for line in lines if line.startswith("ans ")]
    return Recorded(
        version,
        dict(zip(models, answers, strict=True)),
        {name: len(read_tflite(m).ops) for name, m in models.items()},
        {name: digest(m) for name, m in models.items()},
    )


def differences(model: bytes, messages: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the operators on which the table and the analyzer's messages disagree."""
    newer = {kind for kinds in load_raw("gpu")["newer_than_analyzer"] for kind in kinds.split("|")}
    for node in read_tflite(model).nodes():
        ours, theirs = compatibility_reason(node), messages.get(str(node.position), "")
        if bool(ours) != bool(theirs):
            explained = node.kind in newer and not ours
            yield Difference(
                f"{node.where}: the table '{ours}', the analyzer '{theirs}'", explained
            )
