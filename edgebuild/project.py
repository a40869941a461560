"""The project file: ``edgebuild.toml``, or ``[tool.edgebuild]`` in ``pyproject.toml``.

Its keys are spelled like the flags of ``edgebuild build``; its paths are relative to the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgebuild.budget import Budget, read_budget
from edgebuild.errors import InputError, nearest
from edgebuild.files import resolved
from edgebuild.limits import SETTINGS_BYTES, read_file
from edgebuild.profile import FORMATS, INPUT_BY, Optimize
from edgebuild.region_reader import read_place
from edgebuild.targets import target_names
from edgebuild.toml_reader import MAX_FLOAT, Problems, Reader, key_path, read_toml
from edgebuild.units import quoted

FILE_NAME = "edgebuild.toml"
TOOLCHAINS = ("auto", "zig", "gcc")
RUN_CHOICES = ("simulator", "qemu", "adb", "host", "none")
ARENAS = ("separate", "shared")
"""For several models: one for each, so that a run may interrupt another's, or one for all, so that
only one may run at a time."""

DEFAULT_OUT = "build"
DEFAULT_SAMPLES = 8
DEFAULT_CALIBRATION_SAMPLES = 200
MAX_LENGTH = 1 << 24
"""Of one dimension of an input."""
_MAX_SAMPLES = 1_000_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class TargetSettings:
    """What ``[target.<name>]`` says for one target only; ``format``, ``fail_on`` and
    ``edgetpu_container`` are for those with a delegate, ``place`` for those with memory regions,
    ``optimize`` for those that run generated C."""

    budget: Budget = field(default_factory=Budget)
    run: str | None = None
    toolchain: str | None = None
    format: str | None = None
    fail_on: tuple[str, ...] = ()
    edgetpu_container: str = ""
    place: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optimize: str | None = None


@dataclass(frozen=True)
class Normalization:
    """How an app prepares an input, ``(value - mean) / std``: one number each, or one for each
    channel. InputError for numbers that cannot be that."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise InputError(f"has {len(self.mean)} numbers in mean but {len(self.std)} in std")
        if not all(abs(value) < MAX_FLOAT for value in (*self.mean, *self.std)):
            raise InputError("has a number that is not finite")
        if 0 in self.std:
            raise InputError("has a std of 0")


@dataclass(frozen=True)
class Project:
    """A project's settings; None (or empty) where the file says nothing.

    ``model`` and ``out`` are absolute. ``data`` is as it is written: a path relative to ``folder``,
    or a Python entry ``package.module:function`` that is found from there; ``train`` likewise.
    ``targets`` are names, or absolute paths of profiles; ``per_target`` has the same keys.
    ``normalization`` and ``input_shapes`` have the names of inputs as keys.
    """

    file: Path
    out: Path
    model: Path | None = None
    data: str | None = None
    train: str | None = None
    compress: str | None = None
    training: str | None = None
    name: str | None = None
    targets: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)
    per_target: Mapping[str, TargetSettings] = field(default_factory=dict)
    toolchain: str | None = None
    run: str | None = None
    samples: int = DEFAULT_SAMPLES
    calibration_samples: int = DEFAULT_CALIBRATION_SAMPLES
    seed: int = 0
    trust_model: bool = False
    accuracy_gate: bool = True
    ladder: bool = True
    normalization: Mapping[str, Normalization] = field(default_factory=dict)
    place: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    optimize: str | None = None
    keep_inputs: bool = False
    input_by: str = INPUT_BY[0]

    @property
    def folder(self) -> Path:
        """The folder of the project file."""
        return self.file.parent

    def settings_for(self, target: str) -> TargetSettings:
        """Return the settings of a target, its own table over the project's."""
        own = self.per_target.get(target, TargetSettings())
        return replace(
            own,
            budget=self.budget.overridden_by(own.budget),
            run=own.run or self.run,
            toolchain=own.toolchain or self.toolchain,
            place={**self.place, **own.place},
            optimize=own.optimize or self.optimize,
        )


def find_project(folder: Path) -> Path | None:
    """Return the project file of ``folder``, or None.

    Raises InputError when both kinds of project file are there.
    """
    own, shared = folder / FILE_NAME, folder / "pyproject.toml"
    has_own = own.is_file()
    if not _mentions_edgebuild(shared):
        return own if has_own else None
    try:
        has_table = _tool_table(shared) is not None
    except InputError:
        if has_own:
            return own
        raise
    if has_own and has_table:
        raise InputError(
            f"{own} and [tool.edgebuild] in {shared} both exist", hint="keep one of the two"
        )
    return own if has_own else shared if has_table else None


def load_project(folder: Path) -> Project:
    """Return the project of ``folder``; InputError lists every fault at once."""
    file = find_project(folder)
    if file is None:
        raise InputError(
            f"no {FILE_NAME} in {resolved(folder)}",
            hint="edgebuild init writes one; or pass MODEL and --target",
        )
    return read_project(file)


def read_project(file: Path) -> Project:
    """Return the project in ``file``; InputError lists every fault at once."""
    problems = Problems()
    where = ""
    table: Mapping[str, Any] | None = read_toml(file)
    if file.name == "pyproject.toml":
        table, where = _tool_table(file), "tool.edgebuild"
    project = _read(Reader(table or {}, str(file), problems, where), resolved(file))
    problems.raise_if_any(str(file), hint=f"correct {file.name} and run the command again")
    return project


def _mentions_edgebuild(pyproject: Path) -> bool:
    """Return whether it is worth parsing: a broken pyproject.toml of others is not our business."""
    try:
        return b"edgebuild" in read_file(pyproject, most=SETTINGS_BYTES)
    except InputError:
        return False


def _tool_table(pyproject: Path) -> dict[str, Any] | None:
    """Return ``[tool.edgebuild]``, None when there is none."""
    tool = read_toml(pyproject).get("tool")
    table = tool.get("edgebuild") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _read(reader: Reader, file: Path) -> Project:
    folder = file.parent
    model = reader.text("model")
    out = reader.text("out", DEFAULT_OUT)
    targets = tuple(_target_key(target, folder) for target in reader.texts("targets"))
    for fault in _target_faults(targets):
        reader.fault("targets", fault)
    project = Project(
        file=file,
        out=folder / out,
        model=None if model is None else folder / model,
        data=reader.text("data"),
        train=reader.text("train"),
        compress=reader.text("compress"),
        training=reader.text("training"),
        name=_checked_name(reader),
        targets=targets,
        budget=read_budget(reader.table("budget")).named(file.name),
        per_target=_read_targets(reader, folder, file.name),
        toolchain=reader.choice("toolchain", TOOLCHAINS, None),
        run=reader.choice("run", RUN_CHOICES, None),
        samples=_checked_samples(reader, "samples", DEFAULT_SAMPLES),
        calibration_samples=_checked_samples(
            reader, "calibration_samples", DEFAULT_CALIBRATION_SAMPLES
        ),
        seed=reader.count("seed", 0),
        trust_model=reader.flag("trust_model", False),
        accuracy_gate=reader.flag("accuracy_gate", True),
        ladder=reader.flag("ladder", True),
        normalization=_read_normalization(reader.table("normalization")),
        place=read_place(reader.table("place")),
        input_shapes=_read_shapes(reader.table("input_shapes")),
        optimize=reader.choice("optimize", tuple(Optimize), None),
        keep_inputs=reader.flag("keep_inputs", False),
        input_by=reader.choice("input_by", INPUT_BY, INPUT_BY[0]),
    )
    reader.finish()
    return project


def _read_targets(reader: Reader, folder: Path, source: str) -> dict[str, TargetSettings]:
    tables = reader.table("target")
    settings = {}
    for written in tables.keys:
        table = tables.table(written)
        key = _target_key(written, folder)
        for fault in _target_faults((key,)):
            tables.fault(written, fault)
        settings[key] = TargetSettings(
            budget=read_budget(table.table("budget")).named(
                f"{source} [{key_path('target', written)}]"
            ),
            run=table.choice("run", RUN_CHOICES, None),
            toolchain=table.choice("toolchain", TOOLCHAINS, None),
            format=table.choice("format", FORMATS, None),
            fail_on=table.texts("fail_on"),
            edgetpu_container=table.text("edgetpu_container", ""),
            place=read_place(table.table("place")),
            optimize=table.choice("optimize", tuple(Optimize), None),
        )
        table.finish()
    return settings


def _read_normalization(tables: Reader) -> dict[str, Normalization]:
    found = {}
    for name in tables.keys:
        table = tables.table(name)
        mean, std = table.numbers("mean", required=True), table.numbers("std", required=True)
        table.finish()
        if mean and std:
            try:
                found[name] = Normalization(mean, std)
            except InputError as error:
                tables.fault(name, error.message)
    return found


def _read_shapes(table: Reader) -> dict[str, tuple[int, ...]]:
    found = {}
    for name in table.keys:
        lengths = table.numbers(name, required=True)
        if any(not length.is_integer() or not 1 <= length <= MAX_LENGTH for length in lengths):
            table.fault(name, f"a shape is made of whole numbers from 1 to {MAX_LENGTH}")
        found[name] = tuple(map(int, lengths))
    return found


def parse_input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the input's name and its shape of ``"image=1,96,96,1"``; the name may be left out
    where the model has one input."""
    name, _, lengths = text.rpartition("=")
    try:
        shape = tuple(int(length) for length in lengths.split(","))
    except ValueError:
        shape = ()
    if not shape or not all(1 <= length <= MAX_LENGTH for length in shape):
        raise InputError(
            f"--input-shape {quoted(text)} does not have the form INPUT=1,96,96,1",
            hint="--input-shape image=1,96,96,1: the batch first, whole numbers from 1 to "
            f"{MAX_LENGTH:,}",
        )
    return name, shape


def parse_normalization(text: str) -> tuple[str, Normalization]:
    """Return the input's name and its normalization of ``"image=127.5/127.5"`` or, by channel,
    ``"image=1,2,3/4,5,6"``."""
    name, _, numbers = text.rpartition("=")
    mean, _, std = numbers.partition("/")
    try:
        pair = [tuple(float(value) for value in part.split(",")) for part in (mean, std)]
        if not name:
            raise InputError("does not name an input")
        return name, Normalization(*pair)
    except ValueError:
        problem = "does not have the form INPUT=MEAN/STD"
    except InputError as error:
        problem = error.message
    raise InputError(
        f"--normalization {quoted(text)} {problem}", hint="--normalization image=127.5/127.5"
    )


def _target_key(written: str, folder: Path) -> str:
    """Return a shipped name as it is, and a path made absolute."""
    is_path = "/" in written or written.endswith(".toml")
    return str(folder / written) if is_path else written


def _target_faults(targets: Iterable[str]) -> Iterable[str]:
    known = target_names()
    seen = set()
    for target in targets:
        if "/" in target:
            if not Path(target).is_file():
                yield f"{target} does not exist"
        elif target not in known:
            yield f"{quoted(target)} is not a known target{nearest(target[:60], known)}"
        if target in seen:
            yield f"{quoted(target)} is listed twice"
        seen.add(target)


def _checked_name(reader: Reader) -> str | None:
    name = reader.text("name")
    if name is not None and not _NAME.fullmatch(name):
        reader.fault("name", f"{quoted(name)} must be letters, digits, '_' and '-'")
        return None
    return name


def _checked_samples(reader: Reader, key: str, default: int) -> int:
    samples = reader.count(key, default)
    if not 1 <= samples <= _MAX_SAMPLES:
        reader.fault(key, f"{quoted(samples)} is not between 1 and {_MAX_SAMPLES:,}")
    return samples
