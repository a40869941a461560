"""Layers that the Edge TPU does not map: rewritten exactly, or nearly and fine-tuned."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import Context, State
from edgebuild.compress.map_edgetpu import MapEdgeTpu
from edgebuild.compress.recipe import parse_recipe
from edgebuild.compress.setup import TrainingSetup
from edgebuild.delegates.edgetpu import edgetpu_compatibility
from edgebuild.errors import InputError
from edgebuild.models.convert import to_int8_tflite
from edgebuild.models.data import DataSet
from edgebuild.models.source import open_model
from edgebuild.tflite.reader import read_tflite

from .conftest import blobs, split

pytestmark = pytest.mark.keras


def model_of(keras, make, shape=(8, 8, 4), seed=0):
    """Return a model of ``make`` behind a convolution, with random weights in every layer."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    x = inputs
    if len(shape) == 3:
        x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    model = keras.Model(inputs, make(keras.layers, x))
    rng = np.random.default_rng(seed)
    for layer in (one for one in model.layers if "normalization" not in one.name):
        layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.get_weights()])
    return model


def rewritten(model, **options):
    step = MapEdgeTpu(**{"epochs": 0, **options})
    context = Context(split(64, 1), split(64, 2), model, TrainingSetup(batch_size=32))
    return step.apply(State(model), context)


def largest_difference(one, two):
    x = np.random.default_rng(3).normal(0, 2, (4, *one.input_shape[1:])).astype(np.float32)
    return float(np.max(np.abs(one.predict(x, verbose=0) - two.predict(x, verbose=0))))


EXACT = {
    "leaky": (lambda k, x: k.LeakyReLU(0.1)(x), "0.1 x + 0.9 relu(x)"),
    "slope": (lambda k, x: k.ReLU(negative_slope=0.3)(x), "0.3 x + 0.7 relu(x)"),
    "conv with leaky": (
        lambda k, x: k.Conv2D(6, 3, activation="leaky_relu", name="c")(x),
        "c: leaky_relu as 0.2 x",
    ),
    "hard swish": (lambda k, x: k.Activation("hard_silu")(x), "relu6(x + 3)"),
    "dilation": (
        lambda k, x: k.Conv2D(5, 3, dilation_rate=(2, 1), padding="same", name="c")(x),
        "c: dilation (2, 1)",
    ),
    "depthwise dilation": (
        lambda k, x: k.DepthwiseConv2D(3, dilation_rate=(1, 2), name="c")(x),
        "c: dilation (1, 2)",
    ),
    "dense on an image": (
        lambda k, x: k.Dense(5, activation="relu", name="d")(x),
        "d: dense on 8x8x4",
    ),
    "dense on rows": (
        lambda k, x: k.Dense(5, use_bias=False, name="d")(k.Reshape((16, 16))(x)),
        "d: dense on 16x16",
    ),
    "pool and relu": (
        lambda k, x: k.ReLU(6.0, name="r")(k.MaxPooling2D(name="p")(x)),
        "r: in front of p",
    ),
    "average and relu": (
        lambda k, x: k.Activation("relu")(k.AveragePooling2D(2, strides=1, name="p")(x)),
        "p: average as a depthwise",
    ),
    "global maximum": (lambda k, x: k.GlobalMaxPooling2D(name="g")(x), "g: global maximum"),
    "kept dimensions": (lambda k, x: k.GlobalMaxPooling2D(keepdims=True)(x), "global maximum"),
    "nearest": (lambda k, x: k.UpSampling2D((2, 3), name="u")(x), "u: repeated pixels"),
    "nearest by 32": (lambda k, x: k.UpSampling2D((32, 1), name="u")(x), "u: repeated pixels"),
    "nearest by 11": (lambda k, x: k.UpSampling2D(11, name="u")(x), "u: repeated pixels"),
    "repeated steps": (
        lambda k, x: k.UpSampling1D(2, name="u")(k.Reshape((16, 16))(x)),
        "u: repeated pixels",
    ),
    "convolution before a coarse resize": (
        lambda k, x: k.Conv2D(3, 1, name="c")(
            k.UpSampling2D(9, interpolation="bilinear", name="u")(x)
        ),
        "c: in front of u",
    ),
    "rectified convolution before a large resize": (
        lambda k, x: k.Conv2D(3, 1, activation="relu", name="c")(k.UpSampling2D(100, name="u")(x)),
        "c: in front of u",
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_forms_compute_the_same(keras, name):
    make, words = EXACT[name]
    model = model_of(keras, make)
    before = [w.copy() for w in model.get_weights()]
    state, notes = rewritten(model, approximate=False)
    assert state.model is not model
    assert words in notes[0]
    assert all("nearly" not in note for note in notes)
    scale = float(np.max(np.abs(model.predict(np.ones((1, 8, 8, 4)), verbose=0)))) + 1
    assert largest_difference(model, state.model) < 1e-5 * scale
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    again, notes = rewritten(state.model, approximate=False)
    assert again.model is state.model


NEAR = {"elu": 0.05, "celu": 0.05, "selu": 0.1, "gelu": 0.02, "mish": 0.11}


@pytest.mark.parametrize("name", NEAR)
def test_near_forms_are_near_and_say_so(keras, name):
    model = model_of(keras, lambda k, x: k.Activation(name, name="act")(x))
    state, notes = rewritten(model)
    assert notes[0].startswith(f"act: {name} as ") and notes[0].endswith(", nearly")
    assert 0 < largest_difference(model, state.model) < NEAR[name]
    same, notes = rewritten(model, approximate=False)
    assert same.model is model
    assert notes == ("no layer was changed", f"act: {name} stays on the CPU")


def test_nothing_to_do(keras):
    model = model_of(keras, lambda k, x: k.Dense(3)(k.Flatten()(k.ReLU()(x))))
    state, notes = rewritten(model)
    assert state.model is model
    assert notes == ("no layer was changed",)


def test_what_stays_is_told(keras):
    def make(k, x):
        x = k.LayerNormalization(name="n")(x)
        return k.Softmax(name="s")(k.Activation("softplus", name="p")(x))

    _, notes = rewritten(model_of(keras, make))
    assert [note.split(":")[0] for note in notes[1:]] == ["n", "p", "s"]
    assert "a softmax of rows stays on the CPU" in notes[-1]


def test_what_others_read_is_not_moved(keras):
    def make(k, x):
        pool = k.MaxPooling2D(name="p")(x)
        return k.Concatenate()([pool, k.ReLU()(pool)])

    model = model_of(keras, make)
    state, _ = rewritten(model)
    assert state.model is model


def test_a_shared_layer_keeps_its_form(keras):
    def make(k, x):
        shared = k.LeakyReLU(0.1)
        return k.Add()([shared(x), shared(k.MaxPooling2D(1)(x))])

    model = model_of(keras, make)
    state, notes = rewritten(model)
    assert state.model is model
    assert "leaky_relu stays on the CPU" in notes[-1]


def test_masks_and_clusters_follow_their_kernels(keras):
    model = model_of(keras, lambda k, x: k.Conv2D(5, 3, dilation_rate=(2, 1), name="c")(x))
    kernel = model.get_layer("c").kernel
    mask = np.random.default_rng(0).random(kernel.shape) < 0.5
    model.get_layer("c").set_weights(
        [mask * w if w.ndim == 4 else w for w in model.get_layer("c").get_weights()]
    )
    given = State(model, {kernel.path: mask}, {kernel.path: np.where(mask, 0, -1)})
    context = Context(split(64, 1), split(64, 2), model, TrainingSetup(batch_size=32))
    state, _ = MapEdgeTpu(epochs=0).apply(given, context)
    new = state.model.get_layer("c").kernel
    assert new.shape == (5, 3, 4, 5)
    assert state.masks[new.path].shape == state.clusters[new.path].shape == new.shape
    assert np.array_equal(state.masks[new.path], np.asarray(new) != 0)
    assert np.array_equal(state.masks[new.path], state.clusters[new.path] == 0)


def test_approximations_are_fine_tuned(keras):
    """With labels and the original as teacher; the original stays as it is."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, activation="elu", name="c")(inputs)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*blobs(), epochs=4, verbose=0)
    context = Context(split(400, 1), split(200, 2), model, TrainingSetup(batch_size=32))
    plain, _ = MapEdgeTpu(epochs=0).apply(State(model), context)
    tuned, _ = MapEdgeTpu(epochs=2).apply(State(model), context)
    x = context.validation.x[0]
    truth = model.predict(x, verbose=0)
    errors = [np.mean(np.abs(m.model.predict(x, verbose=0) - truth)) for m in (plain, tuned)]
    assert errors[1] < errors[0] + 0.05
    assert not np.allclose(
        plain.model.get_layer("c").get_weights()[0], tuned.model.get_layer("c").get_weights()[0]
    )


def test_options():
    (step,) = parse_recipe("map_edgetpu:approximate=false,epochs=3")
    assert step == MapEdgeTpu(False, 3)
    with pytest.raises(InputError, match="epochs is at least 0"):
        MapEdgeTpu(epochs=-1)


def segmenter(k, x):
    """An encoder and a decoder with what people write."""
    skip = k.LeakyReLU(0.1)(x)
    x = k.Conv2D(8, 3, strides=2, padding="same")(skip)
    x = k.BatchNormalization()(x)
    x = k.LeakyReLU(0.1)(x)
    x = k.ReLU()(k.MaxPooling2D()(x))
    x = k.Conv2D(8, 3, dilation_rate=(2, 1), padding="same")(x)
    x = k.UpSampling2D(4)(x)
    return k.Conv2D(2, 1)(k.Concatenate()([x, skip]))


def classifier(k, x):
    """Rows of features, a dense layer on each, and a global maximum."""
    x = k.Activation("gelu")(x)
    x = k.Reshape((16, 16))(x)
    x = k.Dense(8, activation="elu")(x)
    x = k.GlobalMaxPooling2D()(k.Reshape((4, 4, 8))(x))
    return k.Dense(3, activation="softmax")(x)


def mapped_share(model, folder):
    path = folder / "m.keras"
    model.save(path)
    x = np.random.default_rng(0).normal(size=(8, *model.input_shape[1:])).astype(np.float32)
    made = to_int8_tflite(open_model(path), DataSet((x,), None, "x"), samples=8)
    found = edgetpu_compatibility(read_tflite(made.model))
    return sum(v.delegated for v in found.verdicts) / len(found.verdicts)


@pytest.mark.parametrize(
    ("make", "most"),
    [(segmenter, 0.25), pytest.param(classifier, 0.5, marks=pytest.mark.slow)],
)
def test_the_mapped_share_rises_to_all(keras, tmp_path, make, most):
    model = model_of(keras, make)
    state, _ = rewritten(model)
    assert mapped_share(model, tmp_path) <= most
    assert mapped_share(state.model, tmp_path) == 1.0
