"""Low-rank factors: exact at full rank, smaller at lower, and only where that saves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import Context, State
from edgebuild.compress.costs import model_cost
from edgebuild.compress.low_rank import LowRank, factorizations, replaced
from edgebuild.compress.quality import predict
from edgebuild.compress.recipe import parse_recipe
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError

from .conftest import split

pytestmark = pytest.mark.keras


def net(keras, **options):
    """A convolution of every kind of option, a 1x1 one and dense layers."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 6), name="image")
    x = layers.Conv2D(16, 3, activation="relu", name="conv", **options)(inputs)
    x = layers.Conv2D(20, 1, strides=2, name="point")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(30, activation="tanh", name="fc")(x)
    return keras.Model(inputs, layers.Dense(3, use_bias=False, activation="softmax", name="out")(x))


def images(count=40):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 6)).astype(np.float32)


OPTIONS = [
    {"padding": "same"},
    {"padding": "valid", "strides": 2},
    {"padding": "same", "strides": (1, 2)},
    {"padding": "same", "dilation_rate": 2},
    {"padding": "same", "strides": 2, "use_bias": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("form", ["svd", "tucker", "separable"])
def test_factors_of_full_rank_compute_the_same(keras, form, options):
    model = net(keras, **options)
    for name in ("conv", "point", "fc"):
        layer = model.get_layer(name)
        for factors in factorizations(layer, form):
            new = replaced(State(model), {id(layer): factors}).model
            np.testing.assert_allclose(
                predict(new, [images()]), predict(model, [images()]), atol=1e-5
            )


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same", "strides": 2},
        {"padding": "causal", "dilation_rate": 2},
        {"padding": "valid", "use_bias": False},
        {"kernel_size": 1, "strides": 2},
    ],
    ids=str,
)
def test_convolutions_in_one_dimension(keras, options):
    layers = keras.layers
    keras.utils.set_random_seed(3)
    inputs = keras.Input((20, 6))
    layer = layers.Conv1D(16, **{"kernel_size": 5, "activation": "relu", "name": "conv", **options})
    model = keras.Model(inputs, layers.Dense(3, name="out")(layer(inputs)))
    rng = np.random.default_rng(1)
    core, width = rng.normal(size=(2, 5)), layer.kernel.shape[0]
    factors = rng.normal(size=(6, 2)), rng.normal(size=(16, 5))
    kernel = np.einsum("krs,ir,os->kio", np.stack([core] * width), *factors)
    layer.kernel.assign(kernel + np.arange(width)[:, None, None] * 0.1 * kernel[:1])
    x = [rng.normal(size=(9, 20, 6)).astype(np.float32)]
    forms = [factors.form for factors in factorizations(layer)]
    assert forms == (
        ["svd"] if width == 1 else
        ["tucker"] if options["padding"] == "causal" else ["tucker", "separable"]
    )  # fmt: skip
    for whole in factorizations(layer):
        for factors in (whole, whole.keeping(1.0)):
            new = replaced(State(model), {id(layer): factors}).model
            np.testing.assert_allclose(predict(new, x), predict(model, x), atol=1e-4)
    part = Split(tuple(x), None)
    context = Context(part, part, model, TrainingSetup())
    after, notes = LowRank(energy=0.999, epochs=0).apply(State(model), context)
    assert model_cost(after.model).macs < model_cost(model).macs
    assert notes[0].startswith("conv: ")


def test_tucker_below_full_rank_on_one_side_is_exact_for_such_a_kernel(keras):
    model = net(keras, padding="same")
    layer = model.get_layer("conv")
    rng = np.random.default_rng(1)
    core = rng.normal(size=(3, 3, 2, 5))
    kernel = np.einsum("hwrs,ir,os->hwio", core, rng.normal(size=(6, 2)), rng.normal(size=(16, 5)))
    layer.kernel.assign(kernel)
    (factors,) = factorizations(layer, "tucker")
    found = factors.keeping(1.0)
    assert found.ranks == (2, 5)
    new = replaced(State(model), {id(layer): found}).model
    np.testing.assert_allclose(predict(new, [images()]), predict(model, [images()]), atol=1e-4)
    names = [layer.name for layer in new.layers]
    assert names[1:4] == ["conv_in", "conv_core", "conv_out"]


def test_what_is_kept_is_the_energy_that_was_asked_for(keras):
    layer = net(keras).get_layer("fc")
    (factors,) = factorizations(layer, "svd")
    found = factors.keeping(0.8)
    (first, (a,)), (second, (b, bias)) = found.layers()
    kernel = np.asarray(layer.kernel)
    lost = np.sum((kernel - a @ b) ** 2) / np.sum(kernel**2)
    assert lost <= 0.2
    fewer = factors.of([found.ranks[0] - 1]).layers()
    worse = np.sum((kernel - fewer[0][1][0] @ fewer[1][1][0]) ** 2) / np.sum(kernel**2)
    assert worse > 0.2
    assert first.get_config()["activation"] == "linear"
    assert second.get_config()["activation"] == "tanh"
    np.testing.assert_array_equal(bias, np.asarray(layer.bias))


def test_orthogonal_iteration_is_no_worse_than_the_plain_bases(keras):
    from edgebuild.compress import low_rank

    layer = net(keras).get_layer("conv")
    (factors,) = factorizations(layer, "tucker")
    found = factors.of((3, 6))
    kernel = found.kernel

    def error(inputs, outputs):
        core = low_rank._core(kernel, inputs, outputs)
        return np.sum((kernel - np.einsum("hwrs,ir,os->hwio", core, inputs, outputs)) ** 2)

    plain = (low_rank._basis(low_rank._unfolded(kernel, axis), r) for axis, r in ((2, 3), (3, 6)))
    assert error(*found._bases()) <= error(*plain) * (1 + 1e-9)


def test_the_pass_saves_and_keeps_quality(trained, context):
    after, notes = LowRank(ratio=0.25, epochs=12).apply(State(trained), context)
    before, now = model_cost(trained), model_cost(after.model)
    assert now.macs < before.macs
    assert now.parameters < before.parameters
    assert any(note.startswith("a: ") for note in notes)
    y = context.validation.y
    assert np.mean(predict(after.model, context.validation.x).argmax(1) == y) > 0.9


def test_what_does_not_save_is_left_alone(trained, context):
    state = State(trained)
    assert LowRank(energy=1.0).apply(state, context) == (
        state,
        ("factorizing makes no layer smaller",),
    )


def test_shared_layers_stay_shared(keras):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    one, two = keras.Input((16,), name="one"), keras.Input((16,), name="two")
    shared = layers.Dense(16, name="shared")
    left = np.random.default_rng(0).normal(size=(16, 2))
    shared.build((None, 16))
    shared.kernel.assign(left @ left.T)
    out = layers.Dense(2, activation="softmax")(layers.Add()([shared(one), shared(two)]))
    model = keras.Model([one, two], out)
    data = np.random.default_rng(1).normal(size=(2, 50, 16)).astype(np.float32)
    part = Split(tuple(data), None)
    context = Context(part, part, model, TrainingSetup())
    after, _ = LowRank(energy=0.999, epochs=0).apply(State(model), context)
    assert sum("shared" in layer.name for layer in after.model.layers) == 2
    np.testing.assert_allclose(predict(after.model, data), predict(model, data), atol=1e-5)


def test_names_that_are_taken_are_left_to_their_layers(keras):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 6), name="fc_in")
    x = layers.Conv2D(16, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="conv_core")(x)
    x = layers.Dense(16, name="conv_out")(x)
    x = layers.Dense(24, name="fc", activation="relu")(layers.Flatten()(x))
    x = layers.Dense(24, name="fc_out", activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(3, name="out")(x))
    masks = {"fc_out/kernel": np.ones((24, 24), bool)}
    chosen = {}
    for name, form in (("conv", "tucker"), ("fc", "svd"), ("fc_out", "svd")):
        layer = model.get_layer(name)
        chosen[id(layer)] = next(iter(factorizations(layer, form)))
        if form == "tucker":
            chosen[id(layer)] = chosen[id(layer)].of((3, 8))
    after = replaced(State(model, masks=masks), chosen)
    assert [layer.name for layer in after.model.layers] == [
        *("fc_in", "conv_in", "conv_core_2", "conv_out_2", "conv_core", "conv_out"),
        *(after.model.layers[6].name, "fc_in_2", "fc_out_2", "fc_out_in", "fc_out_out", "out"),
    ]
    assert not after.masks


def test_masks_go_with_their_layers(trained, context):
    masks = {
        v.path: np.ones(v.shape, bool) for v in trained.trainable_variables if len(v.shape) > 1
    }
    after, notes = LowRank(ratio=0.5, epochs=0, form="svd").apply(
        State(trained, masks=masks), context
    )
    assert set(after.masks) < set(masks)
    assert any(note.startswith("masks of ") for note in notes)


def test_equal_seeds_give_equal_weights(trained, context):
    first, second = (LowRank(ratio=0.4, epochs=1).apply(State(trained), context) for _ in "ab")
    for a, b in zip(first[0].model.get_weights(), second[0].model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_grouped_convolutions_are_left_alone(keras):
    inputs = keras.Input((8, 8, 4))
    grouped = keras.layers.Conv2D(32, 3, groups=2)(inputs)
    model = keras.Model(inputs, grouped)
    part = Split((np.zeros((20, 8, 8, 4), np.float32),), None)
    state = State(model)
    context = Context(part, part, model, TrainingSetup())
    assert LowRank(ratio=0.8).apply(state, context)[0] is state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": 0.0}, "energy 0 must be above 0"),
        ({"ratio": 1.0}, "ratio 1 must be at least 0 and below 1"),
        ({"form": "tuker"}, "unknown form 'tuker'; did you mean 'tucker'"),
        ({"epochs": -1}, "epochs is at least 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LowRank(**options)


def test_it_is_a_pass_of_recipes():
    (step,) = parse_recipe("low_rank:energy=0.9,form=tucker,epochs=0")
    assert step == dataclasses.replace(LowRank(), energy=0.9, form="tucker", epochs=0)


def test_random_data_is_not_needed(trained):
    part = split(60, 3)
    bare = Split(part.x, None)
    context = Context(bare, bare, trained, TrainingSetup(batch_size=32))
    after, _ = LowRank(ratio=0.4, epochs=1).apply(State(trained), context)
    assert after.model is not trained
