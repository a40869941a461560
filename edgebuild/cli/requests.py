"""What several commands are asked to resolve: flags over the project file over defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from edgebuild.budget import Budget
from edgebuild.cli.options import (
    BUDGETS,
    COUNT,
    flag_budget,
    input_by_option,
    optimize_option,
    place_option,
)
from edgebuild.errors import InputError
from edgebuild.pipeline.plan import BuildRequest
from edgebuild.profile import FORMATS
from edgebuild.project import (
    RUN_CHOICES,
    TOOLCHAINS,
    Project,
    find_project,
    parse_input_shape,
    parse_normalization,
    read_project,
)
from edgebuild.regions import parse_place

Command = TypeVar("Command", bound=Callable[..., Any])


def resolving_options(command: Command) -> Command:
    """Add the options besides target and budgets that decide what a model becomes: those of
    ``build`` and ``check``."""
    for option in reversed(
        (
            click.option(
                "--data",
                metavar="DATA",
                help="Data set: .npz, .npy, a folder of images, or module:function.",
            ),
            click.option(
                "--train",
                metavar="DATA",
                help="Training set for compression; --data is then used only for testing.",
            ),
            click.option(
                "--name", help="Name of the generated C files and functions [the model's]."
            ),
            click.option(
                "--toolchain", type=click.Choice(TOOLCHAINS), help=f"Compiler [{TOOLCHAINS[0]}]."
            ),
            place_option,
            optimize_option,
            click.option(
                "--keep-inputs/--overwrite-inputs",
                default=None,
                help="Let a run keep its inputs, in more RAM [overwrite].",
            ),
            input_by_option,
            click.option(
                "--run",
                type=click.Choice(RUN_CHOICES),
                help="Where to run the build [the target's default].",
            ),
            click.option(
                "--calibration-samples",
                type=COUNT,
                help="Samples used to calibrate quantization [200].",
            ),
            click.option("--seed", type=COUNT, help="Random seed [0]."),
            click.option(
                "--trust-model",
                is_flag=True,
                default=None,
                help="Allow the model file to run code (Lambda layers).",
            ),
            click.option(
                "--compress",
                metavar="RECIPE",
                help="Compression passes to run, or a recipe .json file.",
            ),
            click.option(
                "--training",
                metavar="ENTRY",
                help="Python entry (module:function) with fine-tuning settings.",
            ),
            click.option(
                "--format",
                type=click.Choice(FORMATS),
                help="Number format on phones [the target's best].",
            ),
            click.option(
                "--input-shape",
                "input_shapes",
                multiple=True,
                metavar="INPUT=1,H,W,C",
                help="Where the model leaves dimensions open. May be repeated.",
            ),
            click.option(
                "--normalization",
                multiple=True,
                metavar="INPUT=MEAN/STD",
                help="Input normalization to record in TFLite metadata.",
            ),
        )
    ):
        command = option(command)
    return command


def requests(
    model: Path | None, targets: tuple[str, ...], flags: dict[str, Any], *, command: str = "build"
) -> list[BuildRequest]:
    """Return what to resolve, a request for each target. ``model`` may be a project file."""
    budget = flag_budget(**{name: flags.pop(name) for name in BUDGETS})
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    if "normalization" in given:
        given["normalization"] = dict(map(parse_normalization, given["normalization"]))
    if "place" in given:
        given["place"] = dict(map(parse_place, given["place"]))
    if "input_shapes" in given:
        given["input_shapes"] = dict(map(parse_input_shape, given["input_shapes"]))
    if given.get("compress", "").endswith(".json"):  # below this folder, not the project's
        given["compress"] = str(Path(given["compress"]).absolute())
    file = find_project(Path()) if model is None else model if model.suffix == ".toml" else None
    if file is None:
        if model is None:
            raise InputError(
                "no MODEL given, and no edgebuild.toml in this folder",
                hint=f"edgebuild {command} model.tflite --target cortex-m4, "
                "or `edgebuild init` to create an edgebuild.toml",
            )
        if not targets:
            raise InputError(
                "no --target given",
                hint="--target cortex-m4; `edgebuild targets list` shows all names",
            )
        return [BuildRequest(model, target, budget=budget, **given) for target in targets]
    project = read_project(file)
    chosen = targets or project.targets
    if project.model is None or not chosen:
        missing = "model" if project.model is None else "targets"
        raise InputError(f"{file}: '{missing}' is not set", hint=f"set it in {file.name}")
    return [_from_project(project, project.model, target, budget, given) for target in chosen]


def _from_project(
    project: Project, model: Path, target: str, budget: Budget, given: dict[str, Any]
) -> BuildRequest:
    settings = project.settings_for(target)
    request = BuildRequest(
        model,
        target,
        data=project.data,
        train=project.train,
        data_folder=Path() if {"data", "train"} & given.keys() else project.folder,
        budget=settings.budget.overridden_by(budget),
        name=project.name,
        out=project.out,
        toolchain=settings.toolchain or TOOLCHAINS[0],
        run=settings.run,
        samples=project.samples,
        calibration_samples=project.calibration_samples,
        seed=project.seed,
        trust_model=project.trust_model,
        accuracy_gate=project.accuracy_gate,
        ladder=project.ladder,
        compress=project.compress,
        training=project.training,
        format=settings.format,
        fail_on=settings.fail_on,
        edgetpu_container=settings.edgetpu_container,
        normalization=project.normalization,
        input_shapes=project.input_shapes,
        optimize=settings.optimize,
        keep_inputs=project.keep_inputs,
        input_by=project.input_by,
    )
    place = {**settings.place, **given.get("place", {})}
    return replace(request, **{**given, "place": place})
