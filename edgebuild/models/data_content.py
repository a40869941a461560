"""What a data set holds when it has been read, and not been checked yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Shape = tuple[int, ...]
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Names:
    """What the model calls its inputs and its outputs, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Content:
    """What a data set holds, not yet checked: inputs, labels by the position of their output, and
    the arrays that say more of the samples, by name (``slice_light``, ``classes``)."""

    x: Arrays
    y: Mapping[int, np.ndarray] = field(default_factory=dict)
    annotations: Mapping[str, np.ndarray] = field(default_factory=dict)
