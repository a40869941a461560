"""The Python API: what ``import edgebuild`` offers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebuild.arguments import check_fields, checked
from edgebuild.budget import Budget, read_budget
from edgebuild.errors import EdgebuildError, InputError
from edgebuild.pipeline import BuildRequest, make_plan, run_plan
from edgebuild.pipeline.objects import Arrays, KerasModel, data_file, model_file
from edgebuild.pipeline.plan import MAX_COUNT
from edgebuild.pipeline.synthesis import Synthesis, make_inputs
from edgebuild.project import Normalization, parse_input_shape, parse_normalization
from edgebuild.report.model import Report
from edgebuild.toml_reader import Problems, Reader
from edgebuild.units import MAX_DURATION_US, parse_duration_us, quoted


@checked
def build(
    model: str | os.PathLike[str] | KerasModel,
    *,
    target: str | os.PathLike[str],
    data: str | os.PathLike[str] | Arrays | None = None,
    train: str | os.PathLike[str] | Arrays | None = None,
    budget: Budget | Mapping[str, str | int | float] | None = None,
    max_flash: str | int | None = None,
    max_ram: str | int | None = None,
    max_latency: str | None = None,
    max_accuracy_drop: str | float | None = None,
    max_class_drop: str | float | None = None,
    max_error_increase: str | float | None = None,
    min_similarity: str | float | None = None,
    accuracy_gate: bool = True,
    ladder: bool = True,
    name: str | None = None,
    out: str | os.PathLike[str] | None = None,
    toolchain: str | None = None,
    run: str | None = None,
    samples: int | None = None,
    calibration_samples: int | None = None,
    seed: int | None = None,
    trust_model: bool = False,
    compress: str | os.PathLike[str] | None = None,
    training: str | None = None,
    format: str | None = None,
    fail_on: str | Sequence[str] = (),
    edgetpu_container: str | None = None,
    normalization: Mapping[str, str | Normalization] | None = None,
    input_shapes: Mapping[str, str | Sequence[int]] | None = None,
    place: Mapping[str, str | Sequence[str]] | None = None,
    optimize: str | None = None,
    keep_inputs: bool = False,
    input_by: str | None = None,
    data_folder: str | os.PathLike[str] | None = None,
    use_cache: bool = True,
    search: bool = False,
    trials: int | None = None,
    timeout: str | float | None = None,
    jobs: int | None = None,
) -> Report:
    """Build ``model`` for ``target`` and return the Report.

    It does what ``edgebuild build --no-search`` does; None is what that does without the flag.

    Args:
        model: a ``.keras``, ``.h5`` or ``.tflite`` file, a SavedModel folder, or a model of Keras 3
            in memory.
        target: the name of a shipped profile, or the path of one.
        data: calibration and test data: what ``--data`` takes, or arrays: ``x``, ``(x, y)``, or a
            dictionary of arrays named as in an ``.npz``.
        train: further data to compress and calibrate with, likewise.
        budget: limits, as a mapping with the names of the following arguments as keys.
        max_flash: bytes, or a text such as ``"128KiB"``; it goes over ``budget``, like all that
            follow.
        max_ram: likewise.
        max_latency: of one inference: ``"50ms"``.
        max_accuracy_drop: a ratio, or a text such as ``"1%"``.
        max_class_drop: likewise, of every class and slice.
        max_error_increase: a ratio of the float model's error, or a text such as ``"5%"``.
        min_similarity: of the outputs to the float model's, at most 1.
        accuracy_gate: do not pass a model that lost much, where no limit was set.
        ladder: try remedies where quantization loses much.
        name: prefix of the generated C; by default the model's name.
        out: where ``<name>-<target>`` is written; by default ``build``.
        toolchain: the compiler.
        run: where to run: ``simulator``, ``qemu``, ``host``, ``none``.
        samples: inferences to run and compare.
        calibration_samples: samples to quantize with.
        seed: of everything random.
        trust_model: allow code inside the model file.
        compress: a recipe of compression passes, or the path of a recipe's ``.json``.
        training: ``module:function`` that says how to fine-tune.
        format: of numbers, for targets with a delegate.
        fail_on: what a delegate may not do: ``"fallback"``, ``"partitions:2"``.
        edgetpu_container: an image with ``edgetpu_compiler``, for Coral.
        normalization: for an app's metadata, by input: ``"127.5/127.5"`` is mean and deviation.
        input_shapes: of inputs by name, where the model leaves dimensions open: ``[1, 96, 96, 1]``.
        place: which of the target's memory regions hold a role: ``{"weights": "qspi"}``.
        optimize: what kernels are chosen for: ``speed``, ``balanced``, ``size`` or ``ram``; by
            default ``balanced``, or what keeps the budget.
        keep_inputs: a run leaves the inputs as they are, in more RAM.
        input_by: ``rows`` takes the input row by row, in less RAM; by default, ``run``, it is whole
            before each run.
        data_folder: where relative paths of data and Python entries are looked for.
        use_cache: answer from the last build when nothing has changed.
        search: when a budget is missed, search a compression that keeps it, as the command does.
        trials: of the search.
        timeout: no training begins after this time: seconds, or ``"10min"``.
        jobs: processes that search.

    Raises:
        EdgebuildError: no report could be made; of a wrong argument it says which. A missed budget
            or a differing output byte does not raise: see ``Report.passed``. A search that finds
            nothing raises CheckFailedError.
    """
    given = dict(locals())
    request = _request(given)
    with _as_given(given, request):
        if not search:
            for key in ("trials", "timeout", "jobs"):
                if given[key] is not None:
                    raise InputError(f"build(): '{key}' is for a search", hint="search=True")
            return run_plan(make_plan(request), use_cache=use_cache)
        from edgebuild.search import MOST_JOBS, Effort, SearchRequest, build_within_budget

        effort = Effort(timeout_s=_seconds(timeout))
        if trials is not None:
            effort = dataclasses.replace(effort, trials=_within("trials", trials, MAX_COUNT))
        if jobs is not None:
            jobs = _within("jobs", jobs, MOST_JOBS)
        return build_within_budget(SearchRequest(request, effort, jobs), use_cache=use_cache)


@checked
def synthesize(
    model: str | os.PathLike[str] | KerasModel,
    *,
    out: str | os.PathLike[str],
    samples: int = 512,
    steps: int = 80,
    limits: tuple[float, float] | None = None,
    seed: int = 0,
    trust: bool = False,
) -> Synthesis:
    """Write inputs for a Keras ``model`` that has come without data, as ``edgebuild synthesize``.

    Args:
        model: a ``.keras`` or ``.h5`` file whose model has batch normalization, or a model in
            memory.
        out: the ``.npz`` to write.
        samples: how many inputs.
        steps: of gradient descent.
        limits: the least and the greatest value of an input, such as 0 and 255.
        seed: equal seed, equal bytes.
        trust: allow code inside the model file.

    Raises:
        EdgebuildError: nothing was written.
    """
    return make_inputs(
        _model(model),
        Path(out),
        samples=samples,
        steps=steps,
        limits=limits,
        seed=seed,
        trust=trust,
    )


def _request(given: Mapping[str, Any]) -> BuildRequest:
    """Return the request that the arguments of ``build`` make: its fields have their names."""
    fields = {field.name for field in dataclasses.fields(BuildRequest)}
    values = {name: value for name, value in given.items() if name in fields and value is not None}
    values |= {
        "model": _model(given["model"]),
        "target": os.fspath(given["target"]),
        "budget": _budget(given),
        "fail_on": _words(given["fail_on"]),
        "place": {role: _words(names) for role, names in (given["place"] or {}).items()},
        "normalization": _normalization(given["normalization"] or {}),
        "input_shapes": _shapes(given["input_shapes"] or {}),
    }
    for name in ("data", "train"):
        values[name] = _data(given[name], name)
    if given["compress"] is not None:
        values["compress"] = os.fspath(given["compress"])
    for name in ("out", "data_folder"):
        if given[name] is not None:
            values[name] = Path(given[name])
    return BuildRequest(**values)


@contextmanager
def _as_given(given: Mapping[str, Any], request: BuildRequest) -> Iterator[None]:
    """Have errors call the arrays and the model that were given in memory by their arguments, where
    they name the files that hold these."""
    names = {
        str(getattr(request, key)): f"build(): '{key}'"
        for key in ("model", "data", "train")
        if not isinstance(given[key], (str, os.PathLike, type(None)))
    }
    try:
        yield
    except EdgebuildError as error:
        for path, name in names.items():
            error.reword(path, name)
        raise


def _model(given: str | os.PathLike[str] | KerasModel) -> Path:
    return Path(given) if isinstance(given, (str, os.PathLike)) else model_file(given)


def _data(given: str | os.PathLike[str] | Arrays | None, name: str) -> str | None:
    if given is None or isinstance(given, (str, os.PathLike)):
        return None if given is None else os.fspath(given)
    return str(data_file(given, name).absolute())


def _budget(given: Mapping[str, Any]) -> Budget:
    """Return the limits of ``budget`` with those that have arguments of their own over them."""
    fields = {field.name for field in dataclasses.fields(BuildRequest)}
    own = {
        name: value
        for name, value in given.items()
        if name.startswith(("max_", "min_")) and name not in fields and value is not None
    }
    whole = given["budget"]
    if isinstance(whole, Budget):
        check_fields("build", "budget", whole)
        return whole.overridden_by(_read(own, ""))
    return _read(dict(whole or {}), "budget").overridden_by(_read(own, ""))


def _read(table: Mapping[str, Any], where: str) -> Budget:
    problems = Problems()
    budget = read_budget(Reader(table, "build()", problems, where))
    problems.raise_if_any("the budget", hint='sizes such as "128KiB", durations such as "50ms"')
    return budget.named("the arguments")


def _words(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _normalization(given: Mapping[str, str | Normalization]) -> dict[str, Normalization]:
    return {
        name: parse_normalization(f"{name}={value}")[1] if isinstance(value, str) else value
        for name, value in given.items()
    }


def _shapes(given: Mapping[str, str | Sequence[int]]) -> dict[str, tuple[int, ...]]:
    texts = {n: v if isinstance(v, str) else ",".join(map(quoted, v)) for n, v in given.items()}
    return {name: parse_input_shape(f"{name}={text}")[1] for name, text in texts.items()}


def _seconds(timeout: str | float | None) -> float | None:
    if isinstance(timeout, str):
        try:
            timeout = parse_duration_us(timeout) / 1e6
        except InputError as error:
            raise InputError(
                f"build(): 'timeout' {error.message}", hint='600, or "10min"'
            ) from error
    if timeout is not None and timeout <= 0:
        raise InputError("build(): 'timeout' must be more than 0")
    if timeout is not None and timeout > MAX_DURATION_US / 1e6:
        raise InputError(f"build(): 'timeout' must be at most {MAX_DURATION_US / 1e6:,.0f} seconds")
    return timeout


def _within(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise InputError(f"build(): '{name}' must be 1 to {most:,}, not {quoted(value)}")
    return value
