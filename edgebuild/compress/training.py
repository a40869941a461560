"""Fine-tuning: labels and teacher, masks that stay, shared weights that move together.

Deterministic for a seed. With a checkpoint folder every epoch is kept: a run that was killed goes
on where it stopped, and one that was done is not done again.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.kept import digest
from edgebuild.compress.losses import Losses, distance, losses_of
from edgebuild.compress.quality import graph_of, predict_all
from edgebuild.compress.rebuild import finish
from edgebuild.compress.setup import Distillation, TrainingSetup, call_users
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError
from edgebuild.kept import read_kept, write_kept
from edgebuild.models.tf_model import as_list, inputs_of


class DivergedError(InputError):
    """Training has come to numbers that are not finite."""


@dataclass(frozen=True)
class _Job:
    """One call of ``fine_tune``."""

    epochs: int
    learning_rate: float
    distill: Distillation | None
    seed: int
    near: bool


def clone(model: Any) -> Any:
    """Return a copy of a Keras model with weights of its own."""
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        finish(layer)
    return copy


def fine_tune(
    state: State,
    context: Context,
    *,
    epochs: int,
    learning_rate: float | None = None,
    distill: Distillation | None = None,
    teacher: Any = None,
    regularize: Callable[[Any], Any] | None = None,
    near: bool = False,
) -> State:
    """Return ``state`` with weights trained for ``epochs`` on the training split.

    Args:
        state: its masks stay zero, weights of one cluster stay equal.
        context: data, set-up, teacher, seed, checkpoints.
        epochs: passes over the training split; 0 returns ``state``.
        learning_rate: at the start of a cosine decay to 0; by default the set-up's.
        distill: how the teacher is used; by default as the set-up says. Without labels the teacher
            is the only source.
        teacher: another one than the context's.
        regularize: a term of the loss, from the model.
        near: ``state`` computes nearly what it did before. Without labels batch normalization then
            keeps its statistics.

    Raises:
        InputError: labels do not fit the model.
        DivergedError: the loss or a weight is no finite number any more.
    """
    if epochs <= 0:
        return state
    rate = context.setup.learning_rate if learning_rate is None else learning_rate
    job = _Job(epochs, rate, distill or context.setup.distillation, context.seed, near)
    losses = losses_of(context, teacher)
    if teacher is not None:
        context = dataclasses.replace(context, teacher=teacher)
    model = clone(state.model)
    keeper = _Keeper(context.checkpoints, _fingerprint(state, context, job))
    loop = _Loop(model, state, context, job, losses, regularize)
    with _statistics(model, epochs * loop.steps, known=near and not context.train.labels):
        for epoch in range(keeper.restore(loop), epochs):
            loss = loop.epoch(epoch)
            _check_finite(loss, model, f"epoch {epoch + 1} of {epochs}", rate)
            keeper.save(loop, epoch + 1)
            context.progress(f"epoch {epoch + 1} of {epochs}, loss {loss:.4f}")
    return state.replace(model=model)


def _check_finite(loss: float, model: Any, when: str, learning_rate: float) -> None:
    if not np.isfinite(loss):
        what = f"the loss is {loss}"
    elif not all(np.all(np.isfinite(weights)) for weights in model.get_weights()):
        what = "weights are not finite"
    else:
        return
    raise DivergedError(
        f"training diverged: {what} after {when}",
        hint=f"a smaller learning rate than {learning_rate:g} (learning_rate of distill, or what "
        "--training returns)",
    )


@contextmanager
def _statistics(model: Any, steps: int, *, known: bool) -> Iterator[None]:
    """Say what batch normalization does with a batch's statistics.

    ``known``, it keeps those of the original's training: samples may be unlike what that saw, and
    other statistics alone would take the model away from the original. Else its
    moving averages follow within ``steps``: the usual momentum of 0.99 needs hundreds, and a short
    fine-tuning would leave them behind the weights.
    """
    layers = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    usual = [(layer.momentum, layer.trainable) for layer in layers]
    for layer in layers:
        layer.momentum = min(layer.momentum, max(0.5, 1.0 - 8.0 / steps))
        layer.trainable = layer.trainable and not known
    try:
        yield
    finally:
        for layer, (momentum, trainable) in zip(layers, usual, strict=True):
            layer.momentum, layer.trainable = momentum, trainable


class _Loop:
    """The training loop of one model."""

    def __init__(
        self,
        model: Any,
        state: State,
        context: Context,
        job: _Job,
        losses: Losses,
        regularize: Callable[[Any], Any] | None,
    ) -> None:
        import keras

        self._model, self._context, self._job = model, context, job
        self._losses = losses
        self._setup: TrainingSetup = context.setup
        self._train = context.train
        self._batch = self._setup.batch(len(self._train))
        self.steps = max(1, len(self._train) // self._batch)
        schedule = keras.optimizers.schedules.CosineDecay(
            job.learning_rate, job.epochs * self.steps
        )
        self.optimizer = self._setup.make_optimizer(schedule)
        self.optimizer.build(model.trainable_variables)
        self._teacher_outputs = self._teach()
        self._ask_teacher = graph_of(context.teacher)
        self._step = _make_step(model, self.optimizer, state, context, job, losses, regularize)

    @property
    def variables(self) -> list[Any]:
        """All that training changes: weights, seeds of dropout, the optimizer's memory."""
        return [*self._model.variables, *self.optimizer.variables]

    def epoch(self, number: int) -> float:
        """Train on every sample once; return the mean loss."""
        import tensorflow as tf

        rng = np.random.default_rng((self._job.seed, number))
        order = rng.permutation(len(self._train))
        losses = []
        for start in range(0, self.steps * self._batch, self._batch):
            chosen = order[start : start + self._batch]
            batch = self._train.take(chosen)
            x = batch.x if self._setup.augment is None else self._varied(batch, rng)
            inputs = [tf.constant(np.asarray(a, np.float32)) for a in x]
            labels = [tf.constant(array) for array in self._losses.labels(batch)]
            teacher = self._targets(chosen, inputs)
            losses.append(self._stepped(inputs, labels, teacher))
        return float(np.mean([float(loss) for loss in losses]))

    def _stepped(self, inputs: Sequence[Any], labels: Any, teacher: Any) -> Any:
        """Take a step; what fails in the user's own loss is reported as that."""
        if self._setup.loss is None:
            return self._step(inputs, labels, teacher)
        return call_users("loss", self._step, inputs, labels, teacher, users=self._setup.loss)

    def _varied(self, batch: Split, rng: np.random.Generator) -> Sequence[np.ndarray]:
        """Return what the user's augmentation makes of a batch."""
        assert self._setup.augment is not None
        made = call_users("augment", self._setup.augment, batch.x, rng)
        if isinstance(made, (tuple, list)):
            shapes = [np.shape(array) for array in made]
            if shapes == [array.shape for array in batch.x]:
                return made
        raise InputError(
            "the training entry's augment must return a tuple of arrays of the same shapes",
            hint="def augment(x, rng): return (x[0] + rng.normal(0, 0.1, x[0].shape),)",
        )

    def _teach(self) -> list[np.ndarray] | None:
        """Return the teacher's outputs once and for all where samples do not vary."""
        if not _uses_teacher(self._job, self._losses) or self._setup.augment is not None:
            return None
        return predict_all(self._context.teacher, self._train.x)

    def _targets(self, chosen: np.ndarray, inputs: Sequence[Any]) -> list[Any] | None:
        import tensorflow as tf

        if not _uses_teacher(self._job, self._losses):
            return None
        if self._teacher_outputs is not None:
            return [tf.constant(output[chosen]) for output in self._teacher_outputs]
        return list(self._ask_teacher(inputs))


def _uses_teacher(job: _Job, losses: Losses) -> bool:
    """Return whether anything is learned from the teacher: of outputs without labels all is."""
    distill = job.distill
    return losses.unlabelled or (distill is not None and (distill.weight > 0 or distill.hints > 0))


def _make_step(
    model: Any,
    optimizer: Any,
    state: State,
    context: Context,
    job: _Job,
    losses: Losses,
    regularize: Callable[[Any], Any] | None,
) -> Callable[[Any, Any, Any], Any]:
    import tensorflow as tf

    variables = model.trainable_variables
    masks = {v.path: tf.constant(np.asarray(state.masks[v.path], bool))
             for v in variables if v.path in state.masks}  # fmt: skip
    clusters = {v.path: np.asarray(state.clusters[v.path])
                for v in variables if v.path in state.clusters}  # fmt: skip
    weight = 0.0 if job.distill is None else job.distill.weight
    weights = [weight if i in losses.labelled else 1.0 for i in range(len(losses.classes))]
    temperature = job.distill.temperature if job.distill else 1.0

    def loss_of(outputs: list[Any], labels: Any, teacher: Any) -> Any:
        total = 0.0
        if labels and weight < 1.0:
            total += (1.0 - weight) * losses.label_loss(labels, outputs)
        if teacher is None:
            return total
        shown = len(losses.classes)  # further outputs are hidden values to match
        if any(weights):
            total += losses.teacher_loss(teacher[:shown], outputs[:shown], temperature, weights)
        for ours, theirs in zip(outputs[shown:], teacher[shown:], strict=True):
            total += job.distill.hint_weight * distance(theirs, ours) if job.distill else 0.0
        return total

    @tf.function(autograph=False)
    def step(inputs: Any, labels: Any, teacher: Any) -> Any:
        values = [v.value for v in variables]
        with tf.GradientTape() as tape:
            tape.watch(values)  # also of layers that are not to learn statistics
            outputs = as_list(model(inputs_of(model, inputs), training=True))
            loss = loss_of(outputs, labels, teacher)
            for extra in model.losses:
                loss += extra
            if regularize is not None:
                loss += regularize(model)
        gradients = tape.gradient(loss, values)
        pairs = [
            (_tied(g, clusters.get(v.path)), v)
            for g, v in zip(gradients, variables, strict=True)
            if g is not None
        ]
        optimizer.apply([g for g, _ in pairs], [v for _, v in pairs])
        for variable in variables:
            if variable.path in masks:
                kept = tf.where(masks[variable.path], variable.value, 0.0)  # no minus zero
                variable.assign(kept)
        return loss

    return step


def _tied(gradient: Any, numbers: np.ndarray | None) -> Any:
    """Return the gradient of shared weights: every member moves by its cluster's mean."""
    import tensorflow as tf

    if numbers is None:
        return gradient
    flat, count = tf.reshape(gradient, [-1]), int(numbers.max()) + 1
    ids = np.where(numbers < 0, count, numbers).reshape(-1)
    means = tf.math.unsorted_segment_mean(flat, tf.constant(ids), count + 1)
    own = tf.constant(numbers.reshape(-1) < 0)
    return tf.reshape(tf.where(own, flat, tf.gather(means, ids)), gradient.shape)


class _Keeper:
    """Keeps the state of a training run in one file, written whole after each epoch."""

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._file = None if folder is None else folder / f"{fingerprint}.npz"
        self._key = fingerprint

    def restore(self, loop: _Loop) -> int:
        """Load what was kept; return how many epochs are done."""
        content = None if self._file is None else read_kept(self._file, self._key)
        if content is None:
            return 0
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                values = [archive[f"arr_{i}"] for i in range(len(archive.files))]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return 0
        epochs, *kept = values
        variables = loop.variables
        if [v.shape for v in kept] != [tuple(v.shape) for v in variables]:
            return 0
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
        return int(epochs)

    def save(self, loop: _Loop, epochs: int) -> None:
        """Keep the state after ``epochs``."""
        if self._file is None:
            return
        content = io.BytesIO()
        np.savez(content, np.array(epochs), *(np.asarray(v) for v in loop.variables))
        write_kept(self._file, self._key, content.getvalue())


def _fingerprint(state: State, context: Context, job: _Job) -> str:
    """Return a hash of all that decides how training goes."""
    setup = context.setup
    named = [getattr(f, "__qualname__", "") for f in (setup.optimizer, setup.loss, setup.augment)]
    weights = (*state.model.get_weights(), *context.teacher.get_weights())
    named_arrays = sorted((*state.masks.items(), *state.clusters.items()), key=lambda pair: pair[0])
    return digest(
        repr((job, setup.batch_size, named)),
        state.model.to_json(),
        *weights,
        *context.train.arrays,
        *(value for pair in named_arrays for value in pair),
    )
