"""Kotlin's compiler and Java, for the tests that have them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def kotlin_lib() -> Path:
    """Return the ``lib`` folder of a Kotlin compiler; skips where there is none."""
    home = Path(os.environ.get("EDGEBUILD_KOTLIN_HOME", ROOT / ".tools" / "kotlin"))
    if not (home / "lib" / "kotlin-compiler.jar").is_file() or not shutil.which("javac"):
        pytest.skip("no Kotlin compiler or JDK (scripts/android-tools.sh, EDGEBUILD_KOTLIN_HOME)")
    return home / "lib"


def run(command: Iterable[object], **options) -> str:
    """Return what the command prints; it must succeed."""
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def kotlinc(lib: Path, classpath: str, classes: Path, sources: Iterable[Path]) -> None:
    """Compile ``sources`` into ``classes``; a warning is an error."""
    compiler = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    run(
        [
            *("java", "-Xmx1g", "-XX:TieredStopAtLevel=1", "-cp", lib / "kotlin-compiler.jar"),
            *(compiler, "-no-reflect", "-Werror", "-jvm-target", "11"),
            *("-kotlin-home", lib.parent, "-cp", classpath, "-d", classes, *sources),
        ]
    )
