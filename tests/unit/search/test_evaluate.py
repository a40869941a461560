"""One candidate with everything real: surgery, training, code generation, linking, simulation."""

import dataclasses

import numpy as np
import pytest

from edgebuild.budget import Budget
from edgebuild.compress.recipe import recipe_from_json
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError, InternalError
from edgebuild.search.evaluate import context_of, evaluate, explicit, with_epochs
from edgebuild.search.moves import moves
from edgebuild.search.problem import Problem, Task
from edgebuild.search.profiling import profile
from edgebuild.search.ranking import rank
from edgebuild.targets import load_target

pytestmark = pytest.mark.keras

QUANTIZE = {"pass": "quantize", "samples": 32}
HALF = {"pass": "prune", "by": "bytes", "ratio": 0.5}
FEWER = {"pass": "prune", "by": "ram", "ratio": 0.3}


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    keras = pytest.importorskip("keras", reason="pip install 'edgebuild[keras]'")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = rng.normal(0, 0.3, (400, 8, 8, 1)).astype(np.float32)
    x[np.arange(400), y * 2] += 1.0
    inputs = keras.Input((8, 8, 1))
    skip = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    z = layers.Conv2D(8, 3, padding="same", activation="relu", name="body")(skip)
    z = layers.MaxPooling2D(2)(layers.Add()([z, skip]))
    z = layers.Dense(16, activation="relu", name="fc")(layers.Flatten()(z))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(z))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=8, verbose=0)
    file = tmp_path_factory.mktemp("model") / "m.keras"
    model.save(file)
    return Problem(
        file.read_bytes(),
        "keras",
        "net",
        False,
        Split((x[:300],), y[:300]),
        Split((x[300:],), y[300:]),
        load_target("cortex-m4"),
        "simulator",
        "zig",
        0,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Objects of the compiler come from the usual cache, states of training from nowhere."""
    monkeypatch.setattr("edgebuild.search.evaluate.cache_dir", lambda: tmp_path)


def test_the_profile_says_what_can_be_varied(problem):
    found = profile(problem)
    assert found.quality > 0.95
    assert (found.measure, found.samples) == ("accuracy", 100)
    assert found.blocks >= 1
    assert not found.normalized
    assert set(found.sensitivity) == {"stem", "fc"}
    assert [k.name for k in found.space(architecture=True).knobs][:2] == ["width", "depth"]


def test_the_cost_of_a_shape_is_that_of_the_trained_one(problem):
    shape = evaluate(problem, Task((HALF, FEWER, QUANTIZE)))
    assert shape.quality is None
    trained = evaluate(problem, Task((HALF, FEWER, QUANTIZE), epochs=9))
    assert trained.quality > 0.9
    assert trained.measure == "accuracy"
    # How a channel rounds, and so the width of its row in a table, depends on its weights.
    assert shape.flash_bytes == pytest.approx(trained.flash_bytes, rel=0.02)
    assert (shape.ram_bytes, shape.macs) == (trained.ram_bytes, trained.macs)
    assert shape.predicted_cycles == pytest.approx(trained.predicted_cycles, rel=0.01)
    assert trained.predicted_cycles == pytest.approx(trained.cycles, rel=0.1)
    assert shape.sha256 != trained.sha256
    again = evaluate(problem, Task(trained.recipe, epochs=9))
    assert again.sha256 == trained.sha256


def test_a_scaled_network_is_pruned_once_it_has_learnt(problem):
    scale = {"pass": "scale", "width": 0.75}
    shape = evaluate(problem, Task((scale, HALF, QUANTIZE)))
    trained = evaluate(problem, Task((scale, HALF, QUANTIZE), epochs=6))
    assert trained.flash_bytes - trained.table_bytes == shape.flash_bytes - shape.table_bytes
    assert (trained.ram_bytes, trained.macs) == (shape.ram_bytes, shape.macs)
    assert [row.get("epochs") for row in trained.recipe] == [6, 6, 0]
    assert trained.quality > 0.8
    for row in moves(problem, trained, Budget(flash_bytes=trained.flash_bytes + 300)):
        assert row[0] == trained.recipe[0]


def test_what_misses_a_limit_is_not_trained(problem):
    task = Task((QUANTIZE,), 1, Budget(flash_bytes=100))
    assert evaluate(problem, task).quality is None
    slow = evaluate(problem, Task((QUANTIZE,), 1, Budget(latency_us=1.0)))
    assert slow.cycles is None  # the prediction alone tells
    assert slow.latency_us > 1.0


def test_prunings_become_one_that_names_what_stays(problem):
    context = context_of(problem)
    steps = explicit(recipe_from_json([HALF, FEWER, QUANTIZE]), context)
    assert [step.name for step in steps] == ["prune", "quantize"]
    assert steps[0].layers
    assert steps[0].ratio == 0.0
    assert explicit(steps, context)[0].layers == steps[0].layers
    nothing = {"pass": "prune", "ratio": 0.0}
    assert [s.name for s in explicit(recipe_from_json([nothing, QUANTIZE]), context)] == [
        "quantize"
    ]


def test_moves_widen_one_layer_and_narrow_another(problem):
    recipe = ({"pass": "prune", "ratio": 0.0, "layers": "stem:4+fc:4", "criterion": "l1"}, QUANTIZE)
    known = evaluate(problem, Task(recipe))
    budget = Budget(flash_bytes=known.flash_bytes + 500, latency_us=2 * known.latency_us)
    found = moves(problem, known, budget)
    shapes = [row[0]["layers"] for row in found]
    assert len(set(shapes)) == len(shapes) >= 1
    assert known.recipe[0]["layers"] not in shapes
    assert all(row[0]["criterion"] == "l1" and row[-1] == known.recipe[-1] for row in found)
    for row in found:
        outcome = evaluate(problem, Task(row))
        assert outcome.flash_bytes <= 1.03 * budget.flash_bytes
    wider = moves(problem, known, Budget(flash_bytes=10 * known.flash_bytes))
    assert {row[0].get("layers") for row in wider} >= {"stem:4", "fc:4"}


def test_the_original_cannot_become_wider(problem):
    whole = evaluate(problem, Task((QUANTIZE,)))
    assert moves(problem, whole, Budget(flash_bytes=10 * whole.flash_bytes)) == []


def test_the_last_pass_that_trains_gets_the_epochs(problem):
    blocks = {"pass": "remove_blocks", "count": 1}
    steps = with_epochs(recipe_from_json([blocks, HALF, QUANTIZE]), 20)
    assert [getattr(step, "epochs", None) for step in steps] == [0, 20, 0]
    assert steps[1].steps > 1
    assert with_epochs(recipe_from_json([HALF, QUANTIZE]), 2)[0].steps == 1


def test_what_does_not_link_says_so(problem):
    keras_target = dataclasses.replace(
        problem.target,
        memories=tuple(
            dataclasses.replace(m, size_bytes=4096) if m.kind == "ram" else m
            for m in problem.target.memories
        ),
    )
    found = evaluate(dataclasses.replace(problem, target=keras_target), Task((QUANTIZE,)))
    assert found.too_large.startswith("RAM of cortex-m4 is too small")
    assert found.excess(Budget()) == {"link": 1.0}


def test_a_fault_of_a_candidate_is_its_own(problem, monkeypatch):
    def broken(*_):
        raise RuntimeError("tensor of the wrong shape\nand more")

    monkeypatch.setattr("edgebuild.compress.prune.Prune.apply", broken)
    with pytest.raises(InternalError, match="search: RuntimeError: tensor of the wrong shape"):
        evaluate(problem, Task((HALF, QUANTIZE)))
    with pytest.raises(InputError, match="unknown pass"):
        evaluate(problem, Task(({"pass": "nothing"},)))


def test_a_regression_is_ranked_by_the_error_of_its_labels(problem, tmp_path):
    """A candidate that is unlike the original and right is better than one that is like it."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, name="value")(hidden))
    x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    y = (2 * x[:, 0] - x[:, 1] * (x[:, 2] > 0) + 0.5).astype(np.float32)
    model.compile("adam", "mse")
    model.fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / "m.keras")
    values = dataclasses.replace(
        problem,
        model=(tmp_path / "m.keras").read_bytes(),
        train=Split((x[:300],), y[:300]),
        validation=Split((x[300:],), y[300:]),
    )
    known = profile(values)
    assert known.measure == "R2" and known.quality < 0.9
    plain = evaluate(values, Task((QUANTIZE,), epochs=1))
    fewer = {"pass": "prune", "by": "bytes", "ratio": 0.1}
    learnt = evaluate(values, Task((fewer, QUANTIZE), epochs=60))
    assert plain.measure == learnt.measure == "R2"
    assert plain.similarity > 0.95 > learnt.similarity
    assert learnt.error_increase < 0.0 < plain.error_increase + 0.05
    assert rank(learnt) < rank(plain) and learnt.quality > known.quality


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [(KeyError("units"), InternalError, 70), (MemoryError(), MemoryError, None)],
)
def test_what_nobody_has_foreseen_is_not_the_users_fault(monkeypatch, error, kind, code):
    def fail(*_):
        raise error

    monkeypatch.setattr("edgebuild.search.evaluate._evaluate", fail)
    with pytest.raises(kind) as caught:
        evaluate(None, Task((QUANTIZE,)))
    if code is not None:
        assert caught.value.exit_code == code
        assert caught.value.message == "a candidate of the search: KeyError: 'units'"
        assert "Traceback" in caught.value.log
