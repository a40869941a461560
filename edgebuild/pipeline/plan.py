"""Resolve a wish into a plan, and hash everything that decides the build's result.

Planning reads files but imports nothing heavy, so that a build with nothing changed is answered
from the last report in a fraction of a second.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from edgebuild.budget import Budget, merge
from edgebuild.codegen.names import c_identifier
from edgebuild.compress.base import Pass
from edgebuild.compress.recipe import read_recipe, recipe_files, recipe_to_json
from edgebuild.errors import CHECK_PATH, InputError, nearest
from edgebuild.files import explain_os_error
from edgebuild.limits import ARTIFACT_BYTES, MODEL_BYTES, files_below, open_file, read_json
from edgebuild.models.source import recognise
from edgebuild.profile import FORMATS, INPUT_BY, Optimize
from edgebuild.project import (
    DEFAULT_CALIBRATION_SAMPLES,
    DEFAULT_OUT,
    DEFAULT_SAMPLES,
    RUN_CHOICES,
    TOOLCHAINS,
    Normalization,
)
from edgebuild.targets import TargetProfile, load_target
from edgebuild.toolchain.cache import cache_dir, cache_limit
from edgebuild.toolchain.choice import tools_for
from edgebuild.units import quoted

LOCK_NAME = "build.lock"
REPORT_NAME = "report.json"
MAX_COUNT = (1 << 32) - 1
"""Of samples, and as a seed: libraries take no larger one."""

_TOOLS = (
    "edgebuild", "ai-edge-litert", "keras", "litert-quantizer", "numpy", "tensorflow",
    "tflite-micro", "unicorn", "ziglang",
)  # fmt: skip


@dataclass(frozen=True)
class BuildRequest:
    """What a user asks for; every field is a flag of ``edgebuild build``.

    ``data`` is calibrated with and judged on; ``train`` is further data to compress and calibrate
    with: without it, compression keeps a part of ``data`` apart to judge on.

    ``run`` None means the target's default. ``samples`` inferences are run and compared. The build
    goes to ``<out>/<name>-<target>``, ``out`` being ``build`` by default. ``compress`` is
    a recipe of compression passes, or a file of one, whose seed goes before ``seed``; ``training``
    a Python entry that returns how they fine-tune.
    For targets with a delegate, ``format`` is the number format that LiteRT is given, None the one
    that the target runs best, and ``fail_on`` what may not happen (``edgebuild.delegates.check``).
    ``edgetpu_container`` is an image with the Edge TPU's compiler, for Coral.
    ``normalization`` is that of inputs by name, for an app to read from TFLite metadata.
    ``accuracy_gate`` False lets a build pass that has lost much (``edgebuild.report.gate``);
    ``ladder`` False tries no remedies then (``edgebuild.compress.ladder``).
    ``place`` says which of the target's memory regions hold a role, over the profile's own.
    ``optimize`` is what kernels are chosen for, None for ``balanced`` or what keeps the budget.
    ``keep_inputs``: a run of the generated C leaves its inputs as they are. ``input_by``: it takes
    its input whole before each ``run``, or by ``rows``.
    ``input_shapes`` are those of inputs by name, where the model leaves dimensions open.
    ``data_folder`` is where relative paths and Python entries are looked for.
    """

    model: Path
    target: str
    data: str | None = None
    train: str | None = None
    budget: Budget = field(default_factory=Budget)
    name: str | None = None
    out: Path | None = None
    toolchain: str = TOOLCHAINS[0]
    run: str | None = None
    samples: int = DEFAULT_SAMPLES
    calibration_samples: int = DEFAULT_CALIBRATION_SAMPLES
    seed: int = 0
    trust_model: bool = False
    compress: str | None = None
    training: str | None = None
    format: str | None = None
    fail_on: tuple[str, ...] = ()
    edgetpu_container: str = ""
    normalization: Mapping[str, Normalization] = field(default_factory=dict)
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    data_folder: Path = field(default_factory=Path)
    accuracy_gate: bool = True
    place: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ladder: bool = True
    optimize: str | None = None
    keep_inputs: bool = False
    input_by: str = INPUT_BY[0]


@dataclass(frozen=True)
class BuildPlan:
    """A request resolved: profile, budget, places, and hashes of everything that goes in. ``tool``
    is what a search costed the recipe with, which ``--toolchain auto`` begins with."""

    request: BuildRequest
    target: TargetProfile
    budget: Budget
    name: str
    run: str
    out: Path
    inputs: Mapping[str, str]
    tools: Mapping[str, str]
    recipe: tuple[Pass, ...] = ()
    tool: str = ""

    @property
    def rounds(self) -> tuple[tuple[str, ...], ...]:
        """The compilers that may be tried, see ``tools_for``."""
        small = self.target.optimize == Optimize.SIZE
        return tools_for(self.request.toolchain, small=small)

    def to_json(self) -> dict[str, Any]:
        """Return what decides the build's result as plain JSON values."""
        request = self.request
        return {
            "name": self.name,
            "target": self.target.to_json(),
            "budget": self.budget.to_json(),
            "run": self.run,
            "toolchain": request.toolchain,
            "tool": self.tool,
            "samples": request.samples,
            "calibration_samples": request.calibration_samples,
            "seed": request.seed,
            "trust_model": request.trust_model,
            "compress": recipe_to_json(self.recipe),
            "training": request.training,
            "format": self.format,
            "fail_on": list(request.fail_on),
            "accuracy_gate": request.accuracy_gate,
            "optimize": request.optimize,
            "ladder": request.ladder,
            "edgetpu_container": request.edgetpu_container,
            "normalization": {
                name: {"mean": list(pair.mean), "std": list(pair.std)}
                for name, pair in request.normalization.items()
            },
            "input_shapes": {k: list(shape) for k, shape in request.input_shapes.items()},
            "data": request.data,
            "train": request.train,
            "inputs": dict(self.inputs),
            "tools": dict(self.tools),
        }

    @property
    def format(self) -> str:
        """The number format of the ``.tflite``, unless the recipe chooses it."""
        delegate = self.target.delegate
        return self.request.format or (delegate.format if delegate is not None else "int8")

    @property
    def sha256(self) -> str:
        """The plan's hash: equal plans make equal builds."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @property
    def checkpoints(self) -> Path:
        """Where training keeps its state: one folder for a model, its data, a seed and what
        trains, so that what a search has trained need not be trained again for the build."""
        parts = [self.inputs.get(name, "") for name in ("model", "data", "train", "training")]
        parts.append(json.dumps(dict(self.tools), sort_keys=True))
        digest = hashlib.sha256("\0".join([*parts, str(self.request.seed)]).encode())
        return cache_dir() / "training" / digest.hexdigest()[:24]


def _optimize(given: str) -> Optimize:
    try:
        return Optimize(given)
    except ValueError:
        raise InputError(
            f"optimize is {quoted(given)}", hint=" or ".join(f'"{one}"' for one in Optimize)
        ) from None


def make_plan(request: BuildRequest) -> BuildPlan:
    """Resolve a request; InputError for anything that cannot be right."""
    cache_limit()  # a wrong setting is told before the work, not after it
    target = load_target(request.target).placed(request.place)
    target = target.keeping_inputs(request.keep_inputs).taking_input(request.input_by)
    _check_input_by(request)
    if request.optimize is not None:
        target = target.optimized(_optimize(request.optimize))
    run = request.run or target.run.default
    if request.toolchain not in TOOLCHAINS:
        raise InputError(f"unknown toolchain '{request.toolchain}'", hint=" or ".join(TOOLCHAINS))
    _check_run(run, target)
    _check_delegate(request, target)
    for name, least, value in (
        ("samples", 1, request.samples),
        ("calibration_samples", 1, request.calibration_samples),
        ("seed", 0, request.seed),
    ):
        if not least <= value <= MAX_COUNT:
            raise InputError(f"{name} must be {least:,} to {MAX_COUNT:,}, not {quoted(value)}")
    if request.model.is_dir():  # before all that is in it is hashed
        recognise(request.model)
    name = c_identifier(request.name or request.model.stem or request.model.resolve().stem)
    inputs = {"model": hash_path(request.model, most=MODEL_BYTES)}
    if request.data is not None:
        inputs["data"] = _hash_data(request.data, request.data_folder)
    if request.train is not None:
        inputs["train"] = _hash_data(request.train, request.data_folder)
    if request.training is not None:
        inputs["training"] = _hash_data(request.training, request.data_folder)
    recipe: tuple[Pass, ...] = ()
    tool = ""
    if request.compress is not None:
        recipe, seed, tool, optimize = read_recipe(request.compress, request.data_folder)
        if request.optimize is None:
            target = target.optimized(optimize)
        request = replace(request, seed=request.seed if seed is None else seed)
        inputs |= {words: hash_path(path) for words, path in recipe_files(recipe).items()}
    out = (request.out or Path(DEFAULT_OUT)) / f"{name}-{target.name}"
    budget = merge(target.default_budget(), request.budget)
    tools = {**_tool_versions(request.toolchain, target), **_vendor_tools(target)}
    return BuildPlan(request, target, budget, name, run, out, inputs, tools, recipe, tool)


def _check_run(run: str, target: TargetProfile) -> None:
    allowed = (*target.run.kinds, "none")
    if run not in RUN_CHOICES:
        raise InputError(
            f"unknown run kind '{run}'{nearest(run, RUN_CHOICES)}",
            hint=f"--run {' or '.join(k for k in allowed if k in RUN_CHOICES)}",
        )
    if run not in allowed:
        raise InputError(
            f"target {target.name} cannot run on {run}",
            hint=f"--run {' or '.join(k for k in allowed if k in RUN_CHOICES)}",
        )


def _check_input_by(request: BuildRequest) -> None:
    if request.input_by == "rows" and request.keep_inputs:
        raise InputError(
            f"--keep-inputs and --input-by {request.input_by} exclude each other: rows that were "
            "used up make room for the next ones",
            hint="leave one of them out",
        )


def _check_delegate(request: BuildRequest, target: TargetProfile) -> None:
    """Check the settings that are for targets on which LiteRT runs the model."""
    if request.edgetpu_container and target.family != "coral":
        raise InputError(
            f"--edgetpu-container is for Coral boards, not for {target.name}",
            hint="--target coral-usb, or leave it out",
        )
    if target.delegate is None:
        for flag, given in (("--format", request.format), ("--fail-on", request.fail_on)):
            if given and given != "int8":
                raise InputError(
                    f"{flag} is for targets on which LiteRT runs the model, not for {target.name}",
                    hint="generated C is int8; `edgebuild targets list` shows phones",
                )
        return
    from edgebuild.delegates.check import parse_fail_on

    parse_fail_on(request.fail_on)
    if request.format is None:
        return
    if request.format not in FORMATS:
        raise InputError(
            f"unknown number format '{request.format[:60]}'{nearest(request.format[:60], FORMATS)}",
            hint=f"--format {' or '.join(FORMATS)}",
        )
    if target.family == "coral" and request.format != "int8":
        raise InputError(
            f"--format {request.format} is not for {target.name}: the Edge TPU computes in int8",
            hint="--format int8, or leave it out",
        )


class Plan(Protocol):
    """What decides a build, and where it goes."""

    @property
    def out(self) -> Path:
        """The build folder."""
        ...

    @property
    def sha256(self) -> str:
        """Equal for equal builds."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what decides the build's result as plain JSON values."""
        ...


def cached_report(plan: Plan) -> dict[str, Any] | None:
    """Return the last build's report when nothing has changed since, else None.

    Nothing has changed when the plan's hash and the hash of every artifact are those in
    ``build.lock``.
    """
    try:
        lock = read_json(plan.out / LOCK_NAME)
        report = read_json(plan.out / REPORT_NAME)
        if lock["plan_sha256"] != plan.sha256 or not isinstance(report, dict):
            return None
        if REPORT_NAME not in lock["artifacts"] or report["plan_sha256"] != plan.sha256:
            return None
        for path, digest in lock["artifacts"].items():
            if hash_path(plan.out / path) != digest:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError):
        return None
    return report


def hash_path(path: Path, *, most: int = ARTIFACT_BYTES) -> str:
    """Return the SHA-256 of a file, or of all files below a folder with their names.

    InputError for what is no regular file, or larger than ``most`` bytes.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for name, file_digest in hash_tree(path, most=most):
                digest.update(f"{name}\0{file_digest}\0".encode())
        else:
            with open_file(path, most=most) as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    except OSError as error:
        raise explain_os_error(error, path) or InputError(
            f"{path}: cannot be read: {error.strerror}", hint=CHECK_PATH
        ) from error
    return digest.hexdigest()


def hash_tree(folder: Path, *, most: int = ARTIFACT_BYTES) -> Iterator[tuple[str, str]]:
    """Yield (relative path, SHA-256) of every file below ``folder``, sorted."""
    for name, path in files_below(folder):
        yield name, hash_path(path, most=most)


def _hash_data(data: str, folder: Path) -> str:
    """Hash the data set's files; of a Python entry only its module's file is known."""
    path = folder / data.partition("?")[0]
    if path.exists():
        return hash_path(path)
    module = folder / (data.partition(":")[0].replace(".", "/") + ".py")
    return hash_path(module) if module.is_file() else "unknown"


def _tool_versions(toolchain: str, target: TargetProfile) -> dict[str, str]:
    versions = {"edgebuild source": _source_sha256()}
    for name in _TOOLS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    from edgebuild.toolchain.choice import AUTO, TOOLCHAINS

    used = list(TOOLCHAINS) if toolchain == AUTO and target.family == "cortex-m" else [toolchain]
    for name in used:
        if name not in (AUTO, "zig"):  # zig is a package, and listed above
            compiler = TOOLCHAINS[name]()
            versions[name] = compiler.version() if compiler.available() else "absent"
    return versions


def _vendor_tools(target: TargetProfile) -> dict[str, str]:
    """Return which of the target's own tools are there: with one more a build is another."""
    if target.family == "coral":
        from edgebuild.coral.compiler import PROGRAM

        return {PROGRAM: "present" if shutil.which(PROGRAM) else "absent"}
    if target.delegate is not None and target.delegate.vendor is not None:
        from edgebuild.delegates.npu import SDKS

        sdk = SDKS[target.delegate.vendor]
        return {sdk.package: "absent" if sdk.missing() else "present"}
    return {}


def _source_sha256() -> str:
    """Hash edgebuild's own code, tables, kernels and templates: a new kernel is a new build."""
    from edgebuild.resources import resource_dir

    digest = hashlib.sha256()
    for folder in (
        Path(__file__).parent.parent,
        resource_dir("firmware"),
        resource_dir("templates"),
    ):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".json", ".c", ".h", ".j2", ".S"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
