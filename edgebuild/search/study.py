"""What a search remembers: Optuna studies, in SQLite or any database that Optuna takes.

Whatever a candidate cost to try is kept under the hash of what was tried. A search that was killed
asks again and is answered from the study: it loses what was running, no more. What came of a
candidate is true for every budget; which candidates to try is not: each budget has its own trials.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebuild.budget import Budget
from edgebuild.errors import InputError, ToolError, nearest
from edgebuild.search.problem import Outcome, Task
from edgebuild.search.space import Space

SAMPLERS = ("tpe", "nsga2", "random")
OBJECTIVES = ("quality", "flash_bytes", "ram_bytes", "latency_us")
"""The first is to be high, the others low."""

_WORST = 1e15
_KEY = "edgebuild problem"


class Study:
    """What is known of one problem.

    ``study`` is an Optuna study that holds the answers; ``open_trials`` opens one of a name.
    """

    def __init__(self, study: Any, open_trials: Callable[[str], Any]) -> None:
        self._study, self._open_trials = study, open_trials

    @property
    def name(self) -> str:
        """The study's name in its database."""
        return str(self._study.study_name)

    def trials(self, budget: Budget, epochs: int, stage: str = "") -> Trials:
        """Return the trials for ``budget`` that train for so many epochs, of one ``stage`` of a
        search that has several."""
        number = _digest([budget.to_json(), epochs, *([stage] if stage else [])])[:8]
        return Trials(self._open_trials(f"{self.name} {number}"), budget)

    def known(self, kind: str, content: Any) -> Any:
        """Return what was kept under ``kind`` and the hash of ``content``, None without."""
        return self._study.user_attrs.get(_label(kind, content))

    def keep(self, kind: str, content: Any, value: Any) -> None:
        """Keep a plain JSON value."""
        self._study.set_user_attr(_label(kind, content), value)

    def outcome(self, task: Task) -> Outcome | None:
        """Return what came of ``task`` before, None when it was not tried or missed another budget
        than ``task``'s."""
        found = self.known("outcome", _tried(task))
        if found is None:
            return None
        outcome = outcome_from_json(found)
        trained = not task.epochs or outcome.quality is not None
        fits = outcome.settled(task.table_bytes).fits(task.limits)
        return outcome if trained or not fits else None

    def keep_outcome(self, task: Task, outcome: Outcome) -> None:
        """Remember what came of ``task``."""
        self.keep("outcome", _tried(task), outcome.to_json())


class Trials:
    """The trials for one budget: an Optuna study."""

    def __init__(self, study: Any, budget: Budget) -> None:
        self._study, self._budget = study, budget

    def keep(self, step: str, outcomes: Sequence[Outcome]) -> None:
        """Remember all outcomes of a step that follows the trials: each in a value of its own,
        of which some databases take no more than 64 KiB."""
        known = self._study.user_attrs
        for number, outcome in enumerate(outcomes):
            label, value = f"{step} {number}", outcome.to_json()
            if known.get(label) != value:
                self._study.set_user_attr(label, value)
        self._study.set_user_attr(step, len(outcomes))

    def kept(self, step: str) -> list[Outcome]:
        """Return what was kept last of a step."""
        found = self._study.user_attrs
        return [outcome_from_json(found[f"{step} {i}"]) for i in range(found.get(step, 0))]

    def begin_with(self, choices: Sequence[Mapping[str, Any]]) -> None:
        """Let the next trials be these, those that were there already excepted."""
        for choice in choices:
            self._study.enqueue_trial(dict(choice), skip_if_exists=True)

    def finished(self) -> list[tuple[dict[str, Any], Outcome]]:
        """Return the choice and the outcome of every trial that ended well, oldest first."""
        return [
            (dict(trial.params), outcome_from_json(trial.user_attrs["outcome"]))
            for trial in self._study.get_trials(deepcopy=False)
            if "outcome" in trial.user_attrs and trial.state.is_finished()
        ]

    @property
    def ended(self) -> int:
        """How many trials have ended, well or not; those that were killed do not count."""
        trials = self._study.get_trials(deepcopy=False)
        return sum(bool({"outcome", "error"} & t.user_attrs.keys()) for t in trials)

    @property
    def different(self) -> int:
        """How many networks the trials that have ended came to; what failed counts too, once for
        each reason."""
        shapes = [json.dumps(outcome.recipe, sort_keys=True) for _, outcome in self.finished()]
        return len(set(shapes)) + len(set(self.errors()))

    def recover(self) -> int:
        """Try again what ran when the last search was killed; return how many those are."""
        import optuna

        lost = self._study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        for trial in lost:
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if trial.params:
                self._study.enqueue_trial(trial.params)
        return len(lost)

    def ask(self, space: Space) -> tuple[Any, dict[str, Any]]:
        """Return a new trial and its choice."""
        trial = self._study.ask()
        return trial, {knob.name: knob.suggest(trial) for knob in space.knobs}

    def tell(self, trial: Any, outcome: Outcome, table_bytes: int | None = None) -> None:
        """End a trial with what came of it."""
        trial.set_user_attr("outcome", outcome.to_json())
        outcome = outcome.settled(table_bytes)
        for name, over in outcome.excess(self._budget).items():
            trial.set_constraint(name, over)
        self._study.tell(trial, _values(outcome))

    def fail(self, trial: Any, reason: str) -> None:
        """End a trial that cannot be built."""
        import optuna

        trial.set_user_attr("error", reason)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def errors(self) -> list[str]:
        """Return why trials failed."""
        trials = self._study.get_trials(deepcopy=False)
        return [t.user_attrs["error"] for t in trials if "error" in t.user_attrs]


def open_study(storage: str, name: str, problem_key: str, *, sampler: str, seed: int) -> Study:
    """Open or create a study.

    InputError for a sampler or database that is not known, or when the study in it is of another
    problem.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"unknown sampler '{sampler}'{nearest(sampler, SAMPLERS)}")
    try:
        import optuna
        import sqlalchemy.exc
    except ImportError:
        raise ToolError(
            "a search needs the package 'optuna'", hint="pip install 'edgebuild[search]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if storage.startswith("sqlite:///"):
        Path(storage.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        database = optuna.storages.get_storage(storage)
        study = _create(database, name)
    except (
        *(sqlalchemy.exc.SQLAlchemyError, ImportError),
        *(ValueError, RuntimeError, OSError),  # Optuna's: of another version of its tables
    ) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"the study cannot be kept in {storage}: {lines[0][:200]}",
            hint="--storage sqlite:///study.db, or postgresql://user@host/name with its driver: "
            "pip install psycopg",
        ) from error
    found = study.user_attrs.get(_KEY)
    if found not in (None, problem_key):
        raise InputError(
            f"study '{name}' in {storage} belongs to another model, data set, target, training or "
            "edgebuild version",
            hint="pass another name with --study",
        )
    if found is None:
        study.set_user_attr(_KEY, problem_key)

    def open_trials(name: str) -> Any:
        trials = _create(database, name)
        # With the same seed a search that goes on would draw the first numbers again.
        trials.sampler = _sampler(sampler, seed + len(trials.get_trials(deepcopy=False)))
        return trials

    return Study(study, open_trials)


def _create(storage: Any, name: str) -> Any:
    """Create or load an Optuna study."""
    import optuna

    return optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["maximize", "minimize", "minimize", "minimize"],
        load_if_exists=True,
    )


def _sampler(name: str, seed: int) -> Any:
    import optuna

    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=12, seed=seed)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=8)


def _values(outcome: Outcome) -> list[float]:
    """Return the objectives; what is not known is the same for all, or the worst."""
    unknown = _WORST if outcome.too_large else 0.0
    rest = [getattr(outcome, name) for name in OBJECTIVES[1:]]
    return [outcome.quality or 0.0, *(unknown if v is None else float(v) for v in rest)]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _label(kind: str, content: Any) -> str:
    return f"{kind} {_digest(content)}"


def _tried(task: Task) -> dict[str, Any]:
    """Return what decides a task's outcome, limits apart, as plain JSON values."""
    way = {"tool": task.tool, "optimize": task.optimize}
    return {"recipe": list(task.recipe), "epochs": task.epochs, **way}


def outcome_from_json(row: Mapping[str, Any]) -> Outcome:
    """Return the outcome whose fields ``row`` holds."""
    return Outcome(**{**row, "recipe": tuple(row["recipe"])})
