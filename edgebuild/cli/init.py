"""``edgebuild init``: write a commented project file that loads as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

import click

from edgebuild.cli.console import line, print_json
from edgebuild.cli.options import json_option, target_option
from edgebuild.errors import InputError
from edgebuild.files import atomic_write
from edgebuild.project import (
    DEFAULT_CALIBRATION_SAMPLES,
    DEFAULT_OUT,
    DEFAULT_SAMPLES,
    FILE_NAME,
    RUN_CHOICES,
    read_project,
)
from edgebuild.targets import load_target
from edgebuild.units import quoted

_DEFAULT_TARGET = "cortex-m4"
Given = TypeVar("Given", str, str | None)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--model", metavar="FILE", type=click.Path(), help="The trained model.")
@click.option(
    "--data", metavar="DATA", help="Data set: .npz, .npy, a folder of images, or module:function."
)
@target_option(multiple=True)
@click.option("--force", is_flag=True, help="Overwrite an existing edgebuild.toml.")
@json_option
def command(
    folder: Path,
    model: str | None,
    data: str | None,
    targets: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Write a commented edgebuild.toml."""
    for target in targets:
        load_target(target)
    for value in filter(None, (model, data)):
        if not value.isprintable():
            raise InputError(f"{quoted(value)} has characters that cannot be written down")
    file = folder / FILE_NAME
    if file.exists() and not force:
        raise InputError(f"{file} exists", hint="--force replaces it")
    text = project_text(
        _seen_from(folder, model),
        _seen_from(folder, data),
        tuple(_seen_from(folder, target) for target in targets) or (_DEFAULT_TARGET,),
    )
    atomic_write(file, text)
    project = read_project(file)
    if as_json:
        print_json({"file": str(file), "targets": list(project.targets)})
        return
    line(f"wrote {file}")
    if model is None:
        line("next: set `model` in it, then run: edgebuild build")
    else:
        line("next: edgebuild build")


def project_text(model: str | None, data: str | None, targets: tuple[str, ...]) -> str:
    """Return the text of a project file; what is not given stays as a comment with an example."""
    listed = ", ".join(_quoted(target) for target in targets)
    run_kinds = " | ".join(RUN_CHOICES)
    return f"""\
# Settings of edgebuild. Each is spelled like the flag of `edgebuild build`, and a flag wins.
# Paths are relative to this file.

# The trained model: .keras, .h5, a SavedModel folder, or .tflite (int8 or float).
{_setting("model", model, "model.tflite")}

# Data for calibration and accuracy: .npz or .npy (x, optional y), a folder of images by class,
# or a Python entry "package.module:function" that returns (x, y). An int8 .tflite needs none.
{_setting("data", data, "data.npz")}

# Data to compress (and calibrate) with; `data` then only judges. Without it a part of `data` is
# kept apart to judge on.
# train = "train.npz"

# Compression before quantization, for .keras and .h5: passes and their options.
# compress = "prune:ratio=0.5,by=macs,epochs=10"
# How they fine-tune, a Python entry that returns a dictionary: learning_rate, batch_size, ...
# training = "my_training:setup"

# What to build for: names of `edgebuild targets list`, or paths of profiles of your own.
targets = [{listed}]

# The name in the generated C; by default the model's file name.
# name = "my_model"

# Where builds go: <out>/<name>-<target>/
out = {_quoted(DEFAULT_OUT)}

# Where builds run: {run_kinds}. By default what the target's profile says.
# run = "simulator"

# The compiler: zig (comes with edgebuild) | gcc (arm-none-eabi-gcc) | auto (zig, and gcc where it
# is installed and memory is short)
toolchain = "auto"

# What kernels are chosen for: speed | balanced | size | ram. By default balanced, or what keeps the
# budget.
# optimize = "speed"

# Let a run of the generated C keep its inputs, in more RAM.
# keep_inputs = true

# Let the generated C take its input whole before each run, or row by row in less RAM: run | rows
# input_by = "rows"

# How many inputs are compared byte for byte with TFLite Micro.
samples = {DEFAULT_SAMPLES}
# How many samples of `data` calibrate the quantization of a float model.
calibration_samples = {DEFAULT_CALIBRATION_SAMPLES}
# The seed of everything random.
seed = 0

# Let a Keras model run code of its own (lambda layers). Only for models that you trust.
trust_model = false

# Whether a build fails whose model has lost much of its accuracy; budgets below set other limits.
accuracy_gate = true

# Whether remedies are tried by themselves where quantization loses much.
ladder = true

# A build that misses a budget exits with code 1. By default the device's own memory is the limit.
[budget]
# max_flash = "128KiB"
# max_ram = "64KiB"
# max_latency = "50ms"
# max_accuracy_drop = "1%"
# max_class_drop = "5%"
# max_error_increase = "10%"
# min_similarity = 0.98

# The same for one target, over the above:
# [target.{_bare(targets[0])}.budget]
# max_ram = "32KiB"

# Which of the target's memory regions (`edgebuild targets show`) hold code, kernels, weights, arena
# and data, where its profile's choice is not yours:
# [place]
# weights = "qspi"
# arena = ["dtcm", "ram"]

# For a phone or an accelerator also its number format (int8 | dynamic | float16 | float32), and
# what its delegate may not do:
# [target.android-gpu]
# format = "float16"
# fail_on = ["fallback", "partitions:2"]

# Shapes of inputs whose dimensions the model leaves open, the batch first:
# [input_shapes]
# image = [1, 96, 96, 1]

# How an app prepares an input, for the metadata of a phone's model: (value - mean) / std, one
# number each or one for each channel.
# [normalization.image]
# mean = [127.5]
# std = [127.5]
"""


def _setting(key: str, value: str | None, example: str) -> str:
    return f"# {key} = {_quoted(example)}" if value is None else f"{key} = {_quoted(value)}"


def _seen_from(folder: Path, given: Given) -> Given:
    """Return a path of the command line as the project file in ``folder`` has to write it.

    Names and Python entries stay as they are, and so does a path when ``folder`` is this one.
    """
    if given is None or not Path(given).exists() or Path(given).is_absolute():
        return given
    if folder.resolve() == Path.cwd():
        return given
    return os.path.relpath(given, folder)


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's short escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _bare(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else _quoted(key)
