"""Predicted cycles of a graph on a core, without compiling or running."""

from edgebuild.cycles.predict import (
    CyclePrediction,
    LayerCycles,
    predict_cycles,
    predict_step,
)

__all__ = ["CyclePrediction", "LayerCycles", "predict_cycles", "predict_step"]
