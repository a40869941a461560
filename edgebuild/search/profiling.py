"""What a search should know of a model before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgebuild.compress.base import Context, State
from edgebuild.search.evaluate import context_of
from edgebuild.search.problem import Problem
from edgebuild.search.space import Space

_WIDE = 1024


@dataclass(frozen=True)
class ModelProfile:
    """The float model's quality, what of it can be varied, and how much each layer matters.

    ``sensitivity`` is the quality that is lost on the validation split when half of a group's
    channels go and nothing is trained, by the group's first layer.
    """

    quality: float
    measure: str
    samples: int
    blocks: int
    wide_layers: bool
    normalized: bool
    sensitivity: dict[str, float]

    def space(self, *, architecture: bool) -> Space:
        """Return what can be varied."""
        return Space(self.blocks, self.wide_layers, self.normalized, architecture)


def profile(problem: Problem, *, sensitivity: bool = True) -> ModelProfile:
    """Measure the original; in a worker process."""
    from edgebuild.compress.blocks import removable_blocks
    from edgebuild.compress.quality import quality

    context = context_of(problem)
    model = context.teacher
    found = quality(model, context.validation, model)
    kinds = {type(layer).__name__ for layer in model.layers}
    return ModelProfile(
        found.value,
        found.measure,
        found.samples,
        len(removable_blocks(model)),
        any(_is_wide(layer) for layer in model.layers),
        "BatchNormalization" in kinds,
        _sensitivities(context, found.value) if sensitivity else {},
    )


def _is_wide(layer: Any) -> bool:
    """Return whether a low rank could make a layer smaller."""
    kernel = getattr(layer, "kernel", None)
    if type(layer).__name__ not in ("Dense", "Conv1D", "Conv2D") or kernel is None:
        return False
    return int(kernel.shape[-1] * kernel.shape[-2]) >= _WIDE


def _sensitivities(context: Context, whole: float) -> dict[str, float]:
    from edgebuild.compress.prune import layer_sensitivities

    return {
        name: round(lost, 6)
        for name, lost in layer_sensitivities(State(context.teacher), context).items()
    }
