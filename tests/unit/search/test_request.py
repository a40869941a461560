"""From requests to searches: what is refused, what is written, what the command prints."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgebuild.budget import Budget, Violation
from edgebuild.cli.main import run
from edgebuild.compress.recipe import parse_recipe, read_recipe, write_recipe
from edgebuild.compress.splits import Splits
from edgebuild.errors import InputError
from edgebuild.figures import Figure
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.search import request as requests
from edgebuild.search.problem import Outcome
from edgebuild.search.run import Found

from .formulas import PROFILE, problem


def outcome(**changes):
    return dataclasses.replace(
        Outcome(
            ({"pass": "prune", "layers": "a:4"}, {"pass": "quantize"}),
            3,
            flash_bytes=20_000,
            ram_bytes=4_000,
            latency_us=1500.0,
            quality=0.97,
            measure="accuracy",
        ),
        **changes,
    )


def found(budget, best=True, **changes):
    small = outcome(flash_bytes=9_000, quality=0.91)
    chosen = small if best else None
    return Found(PROFILE, budget, outcome(), (outcome(), small), chosen, **changes)


@pytest.fixture
def plan(tmp_path):
    model = tmp_path / "net.keras"
    model.write_bytes(b"nothing that is read here")
    return make_plan(
        BuildRequest(model, "cortex-m4", data="x.npz", out=tmp_path, budget=Budget(10_000), seed=5)
    )


def test_every_point_gets_a_recipe_and_the_front_a_picture(plan):
    folder = requests.search_folder(plan)
    (folder / "points").mkdir(parents=True)
    (folder / "points" / "09.json").write_text("of an older search")
    requests._write(folder, found(plan.budget), plan)
    assert sorted(p.name for p in (folder / "points").iterdir()) == ["01.json", "02.json"]
    steps, seed, *_ = read_recipe(str(folder / "recipe.json"), Path())
    assert [step.name for step in steps] == ["prune", "quantize"]
    assert seed == 5
    summary = json.loads((folder / "search.json").read_text())
    assert summary["best"]["flash_bytes"] == 9_000
    picture = (folder / "front.svg").read_bytes()
    requests._write(folder, found(plan.budget), plan)
    assert (folder / "front.svg").read_bytes() == picture
    requests._write(folder, found(plan.budget, best=False), plan)
    assert not (folder / "recipe.json").exists()


def test_a_recipe_file_brings_its_seed(plan, tmp_path):
    write_recipe(tmp_path / "r.json", parse_recipe("prune:ratio=0.25"), 7)
    wanted = dataclasses.replace(plan.request, compress="r.json", data_folder=tmp_path, seed=1)
    made = make_plan(dataclasses.replace(wanted, data=None))
    assert made.request.seed == 7
    assert made.recipe == parse_recipe("prune:ratio=0.25")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a recipe"),
        ('{"schema": 2, "seed": 0, "recipe": [{"pass": "prune"}]}', "is not a recipe"),
        ('{"schema": 1, "seed": 0, "recipe": []}', "is not a recipe"),
        ('{"schema": 1, "seed": "0", "recipe": [{"pass": "prune"}]}', "is not a recipe"),
        ('{"schema": 1, "seed": 0, "recipe": [{"pass": "prun"}]}', "did you mean 'prune'"),
        ("[1]", "is not a recipe"),
    ],
)
def test_a_damaged_recipe_is_refused(tmp_path, content, message):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_recipe("r.json", tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_recipe("none.json", tmp_path)


def test_what_cannot_fit_is_said_with_figures(plan):
    smallest = outcome(flash_bytes=12_000, quality=None)
    error = requests.no_fit(
        found(plan.budget, best=False, nearest=smallest, proved=True, reason="too small"), plan
    )
    assert error.message == "net on cortex-m4: cannot fit: too small"
    assert error.details == (
        "closest: flash 12,000 B, RAM 4,000 B, 1.5 ms",
        "uncompressed: 97.00 % accuracy, flash 20,000 B, RAM 4,000 B, 1.5 ms",
    )
    tight = dataclasses.replace(plan.budget, flash_bytes=8_000, ram_bytes=3_999, latency_us=1e3)
    error = requests.no_fit(found(tight, best=False, nearest=smallest, proved=True), plan)
    assert error.hint == (
        "--max-flash 20KiB and --max-ram 4KiB and --max-latency 1.5ms for the model as it is, or a "
        "value between it and --max-flash 12KiB and --max-ram 4KiB and --max-latency 1.5ms for the "
        "smallest network, of little use by itself; or a faster clock, as --target nrf52840-dk (64 "
        "MHz), --target nucleo-l4r5zi (120 MHz), a profile of your own (`edgebuild targets new`): "
        "cortex-m4 runs at 25 MHz, the smallest network needs 38 MHz"
    )


def test_only_trainable_models_with_data_and_limits_are_searched(plan):
    def can(**changes):
        return requests.can_search(make_plan(dataclasses.replace(plan.request, **changes)))

    pytest.importorskip("optuna")
    pytest.importorskip("tensorflow")
    assert can()
    assert not can(data=None)
    assert not can(compress="prune")
    tflite = plan.request.model.with_suffix(".tflite")
    tflite.write_bytes(b"x")
    assert not can(model=tflite)


VIOLATIONS = {
    "flash": Violation("flash", 10_000, Figure(20_000.0, "B", "measured", "the linker")),
    "accuracy": Violation("accuracy-drop", 0.01, Figure(0.02, "ratio", "measured", "the host")),
    "latency": Violation("latency", 5.0, None),
}


@dataclasses.dataclass
class Built:
    violations: tuple[Violation, ...]
    notes: tuple[str, ...] = ()
    gate: None = None


@pytest.mark.parametrize(
    ("missed", "searched"),
    [
        ([], None),
        (["flash"], {"baseline_missed": False}),
        (["accuracy"], {"baseline_missed": True}),
        (["flash", "accuracy"], {"baseline_missed": True}),
        (["accuracy", "latency"], None),  # no figure tells the latency of any candidate
    ],
)
def test_a_build_that_misses_a_budget_is_searched(plan, monkeypatch, missed, searched):
    asked, built = [], []

    def run_plan(plan, **_):
        built.append(plan)
        return Built(tuple(VIOLATIONS[name] for name in missed))

    def search(request, progress, *, keep_training, **options):
        asked.append(options)
        write_recipe(requests.search_folder(plan) / requests.WINNER, parse_recipe("prune"), 0)
        return found(plan.budget)

    monkeypatch.setattr(requests, "run_plan", run_plan)
    monkeypatch.setattr(requests, "search", search)
    monkeypatch.setattr(requests, "can_search", lambda plan: True)
    monkeypatch.setattr(requests, "find_spec", lambda name: name)
    requests.build_within_budget(requests.SearchRequest(plan.request))
    assert asked == ([] if searched is None else [searched])
    assert [bool(plan.recipe) for plan in built] == ([False] if searched is None else [False, True])
    # Without Optuna there is no search, and the report of a build that could have one says so.
    asked.clear()
    monkeypatch.setattr(requests, "find_spec", lambda name: None)
    report = requests.build_within_budget(requests.SearchRequest(plan.request))
    assert not asked
    assert [note for note in report.notes if "edgebuild[search]" in note] == list(report.notes)
    assert bool(report.notes) == (searched is not None)


@pytest.mark.parametrize(
    ("quality", "allowed", "said"), [(0.5, None, True), (0.5, 0.6, False), (0.95, None, False)]
)
def test_a_best_that_loses_much_is_told(plan, monkeypatch, quality, allowed, said):
    chosen = outcome(flash_bytes=9_000, quality=quality)
    searched = dataclasses.replace(found(plan.budget), best=chosen)
    monkeypatch.setattr(requests, "run_plan", lambda *_, **__: Built((VIOLATIONS["flash"],)))
    monkeypatch.setattr(requests, "search", lambda *_, **__: searched)
    monkeypatch.setattr(requests, "can_search", lambda plan: True)
    monkeypatch.setattr(requests, "find_spec", lambda name: name)
    write_recipe(requests.search_folder(plan) / requests.WINNER, parse_recipe("prune"), 0)
    limits = Budget(10_000, max_accuracy_drop=allowed)
    wanted = dataclasses.replace(plan.request, budget=limits)
    report = requests.build_within_budget(requests.SearchRequest(wanted))
    note = (
        "the best that keeps the budget loses 49.0 points of accuracy on the validation samples; "
        "--max-accuracy-drop 2% refuses such a build"
    )
    assert report.notes == ((note,) if said else ())


def test_an_edited_training_module_is_another_problem(plan, tmp_path, monkeypatch):
    split = problem().train
    source = SimpleNamespace(kind="keras", close=lambda: None)
    monkeypatch.setattr(requests, "open_model", lambda *_, **__: source)
    monkeypatch.setattr(requests, "load_sets", lambda *_: (None, None))
    monkeypatch.setattr(requests, "training_splits", lambda *_: Splits(split, split, split))
    wanted = dataclasses.replace(plan.request, data=None, training="ts:f", data_folder=tmp_path)
    keys = set()
    for rate in ("1e-3", "1e-4", "1e-4"):
        (tmp_path / "ts.py").write_text(f"def f():\n    return {{'learning_rate': {rate}}}\n")
        keys.add(requests.open_problem(make_plan(wanted)).key)
    assert len(keys) == 2


def test_another_edgebuild_is_another_problem_with_its_own_training(plan, monkeypatch):
    split = problem().train
    source = SimpleNamespace(kind="keras", close=lambda: None)
    monkeypatch.setattr(requests, "open_model", lambda *_, **__: source)
    monkeypatch.setattr(requests, "load_sets", lambda *_: (None, None))
    monkeypatch.setattr(requests, "training_splits", lambda *_: Splits(split, split, split))
    keys, folders = set(), set()
    for source_sha256 in ("an older one", "a newer one", "a newer one"):
        monkeypatch.setattr(f"{make_plan.__module__}._source_sha256", lambda s=source_sha256: s)
        made = make_plan(plan.request)
        keys.add(requests.open_problem(made).key)
        folders.add(made.checkpoints)
    assert (len(keys), len(folders)) == (2, 2)


def test_build_passes_on_what_limits_a_search(plan, monkeypatch):
    asked = []

    def build(request, *_, **__):
        asked.append(request)
        raise InputError("enough")

    monkeypatch.setattr("edgebuild.search.build_within_budget", build)
    limits = ["--trials", "7", "--timeout", "2min", "--jobs", "3"]
    run(["build", str(plan.request.model), "--target", "cortex-m4", *limits])
    run(["build", str(plan.request.model), "--target", "cortex-m4"])
    assert [(r.effort.trials, r.effort.timeout_s, r.jobs) for r in asked] == [
        (7, 120.0, 3),
        (40, None, None),
    ]


def test_the_command_prints_the_front(plan, capsys, monkeypatch):
    from edgebuild.cli import search as command

    result = found(plan.budget)
    command._show(result, Path("out/net-cortex-m4-search"))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "best at their cost: 2 of 2 candidates" in printed
    assert "2*" in printed
    assert "9,000" in printed
    assert "* the recipe to build: out/net-cortex-m4-search/recipe.json" in printed


def test_the_command_prints_the_most_sensitive_layers(plan, capsys):
    from edgebuild.cli import search as command

    lost = {"conv": 0.2, "fc": 0.031, "idle": -0.01, "deep": 0.3, "last": 0.25}
    profile = dataclasses.replace(PROFILE, sensitivity=lost)
    command._show(dataclasses.replace(found(plan.budget), profile=profile), Path("out"))
    printed = " ".join(capsys.readouterr().out.split())
    said = "most sensitive layers, by points of accuracy that half of their channels are worth: "
    assert f"{said}deep 30.0, last 25.0, conv 20.0" in printed
    none = dataclasses.replace(PROFILE, sensitivity={"idle": -0.01, "same": 0.0})
    command._show(dataclasses.replace(found(plan.budget), profile=none), Path("out"))
    assert "most sensitive" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "cortex-m4", "--target", "cortex-m0plus"], "a search is for one target"),
        (["--target", "cortex-m4", "--build", "3"], "no point 3"),
        (["--target", "cortex-m4", "--jobs", "none"], "none"),
        (["--target", "cortex-m4", "--jobs", "0"], "jobs must be 1 to 256"),
        (["--target", "cortex-m4", "--jobs", "1000000"], "jobs must be 1 to 256"),
        (["--target", "cortex-m4"], ""),
    ],
)
def test_wrong_requests_end_with_words(tmp_path, capsys, arguments, message):
    model = tmp_path / "net.keras"
    model.write_bytes(b"not a zip file")
    code = run(["search", str(model), "--out", str(tmp_path), *arguments])
    assert code == 2
    printed = capsys.readouterr().err
    assert "error: " in printed
    assert message in printed
    assert "Traceback" not in printed
