"""What a search works on, in one picklable value: it travels to every worker once."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.budget import Budget
from edgebuild.compress.splits import Split
from edgebuild.profile import Optimize
from edgebuild.targets import TargetProfile


class Way(NamedTuple):
    """What compiles a candidate, and what its kernels are chosen for."""

    tool: str = ""
    optimize: str = Optimize.BALANCED


@dataclass(frozen=True, eq=False)
class Problem:
    """A model, its data and its target.

    ``model`` holds the bytes of a ``.keras`` or ``.h5`` file of that ``kind``. ``training`` is a
    Python entry below ``entry_folder``, which every worker must be able to read, and
    ``training_sha256`` the hash of its module. ``train`` and ``validation`` are the splits that
    choices are made on; the test split is not here. ``run`` is where candidates run: ``simulator``,
    ``qemu``, ``host`` or ``none``. ``checkpoints`` is a folder's name in the cache of the machine
    that trains; empty for one of the problem's own. ``tools`` are the versions that a build records
    too, the hash of edgebuild's own source among them. ``shapes`` are those of all inputs, None
    where the model leaves none open. ``optimize`` is what kernels are chosen for, None for what
    keeps the budget.
    """

    model: bytes
    kind: str
    name: str
    trust: bool
    train: Split
    validation: Split
    target: TargetProfile
    run: str
    toolchain: str
    seed: int
    training: str | None = None
    entry_folder: Path = field(default_factory=Path)
    checkpoints: str = ""
    training_sha256: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] | None = None
    optimize: str | None = None

    @cached_property
    def key(self) -> str:
        """A hash of all that decides what a candidate costs and how good it becomes."""
        digest = hashlib.sha256(self.model)
        for split in (self.train, self.validation):
            for array in split.arrays:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(array.tobytes())
        plain = (self.kind, self.trust, self.run, self.toolchain, self.seed, self.shapes)
        kernels = self.optimize
        training = (self.training, self.training_sha256)
        tools = sorted(self.tools.items())
        digest.update(pickle.dumps((plain, kernels, training, self.target.to_json(), tools)))
        return digest.hexdigest()


@dataclass(frozen=True)
class Task:
    """One candidate to try.

    ``recipe`` holds passes as plain JSON values, as ``recipe_to_json`` gives them, ``quantize``
    last. Without ``epochs`` its shape alone is built and costed. With them, the candidate is
    trained for so many epochs, unless its cost misses ``limits`` already, softmax tables counted
    as ``Outcome.settled`` does. ``tool`` is what compiles it (``edgebuild.toolchain.choice``), its
    kernels chosen for ``optimize``.
    """

    recipe: tuple[dict[str, Any], ...]
    epochs: int = 0
    limits: Budget = field(default_factory=Budget)
    table_bytes: int | None = None
    tool: str = ""
    optimize: str = Optimize.BALANCED


@dataclass(frozen=True)
class Outcome:
    """What a candidate costs on the target, and how good it is on the validation split.

    ``recipe`` builds it: channels are given for each layer. ``flash_bytes``, ``ram_bytes``,
    ``cycles`` and ``latency_us`` are of the linked and run image; None where the profile has no
    such figure. ``quality`` is of the int8 file, None when it was not trained; ``measure`` says
    what it is; ``similarity`` and ``error_increase`` are those that budgets limit (None untrained).
    ``sha256`` is that of the ``.tflite``. ``too_large`` says why it does not even link.
    ``tool`` compiled it, with kernels for ``optimize``.
    """

    recipe: tuple[dict[str, Any], ...]
    epochs: int
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    cycles: int | None = None
    latency_us: float | None = None
    macs: int = 0
    predicted_cycles: int | None = None
    table_bytes: int = 0
    quality: float | None = None
    measure: str = ""
    similarity: float | None = None
    error_increase: float | None = None
    sha256: str = ""
    too_large: str = ""
    seconds: float = 0.0
    tool: str = ""
    optimize: str = Optimize.BALANCED

    @property
    def way(self) -> Way:
        """What it was compiled with."""
        return Way(self.tool, self.optimize)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""
        return {**dataclasses.asdict(self), "recipe": list(self.recipe)}

    def excess(self, budget: Budget) -> dict[str, float]:
        """Return by how much of the limit each limit is missed (0.1 is 10 % over), below 0 where
        it is kept; a candidate that does not link misses all by 100 %."""
        limits = {
            "flash": (self.flash_bytes, budget.flash_bytes),
            "ram": (self.ram_bytes, budget.ram_bytes),
            "latency": (self.latency_us, budget.latency_us),
        }
        found = {}
        for name, (value, limit) in limits.items():
            if limit is None:
                continue
            if value is None:
                found[name] = 1.0
            else:
                found[name] = (value - limit) / max(limit, 1e-9)
        if self.too_large:
            found["link"] = 1.0
        return found

    def settled(self, table_bytes: int | None) -> Outcome:
        """Return what training is expected to leave: softmax tables of at most ``table_bytes``.

        A network that has lost channels is unsure, its logits are small and the tables long; it
        learns the original's logits, and gets about the original's tables.
        """
        if self.flash_bytes is None or table_bytes is None:
            return self
        settled = min(self.table_bytes, table_bytes)
        flash = self.flash_bytes - (self.table_bytes - settled)
        return dataclasses.replace(self, flash_bytes=flash, table_bytes=settled)

    def lost(self, budget: Budget) -> list[str]:
        """Return which limits of similarity and error a trained candidate misses, in words."""
        found = []
        least, most = budget.min_similarity, budget.max_error_increase
        if least is not None and (self.similarity is None or self.similarity < least):
            known = "unknown" if self.similarity is None else f"{self.similarity:.4f}"
            found.append(f"similarity {known} of at least {least:g}")
        if most is not None and (self.error_increase is None or self.error_increase > most):
            rise = "unknown" if self.error_increase is None else f"{self.error_increase:.1%}"
            found.append(f"error increase {rise} of at most {most:.4g}")
        return found

    def fits(self, budget: Budget) -> bool:
        """Return whether flash, RAM and latency keep the budget."""
        return all(over <= 0.0 for over in self.excess(budget).values())
