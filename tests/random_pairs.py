"""Put compression passes on random Keras models: the program of a child process.

``python -m tests.random_pairs FOLDER NUMBER...`` makes each pair of that number and prints a line
of JSON for it: ``{"pair": 7, "pass": "prune:...", "result": "made"}`` with ``FOLDER/7.tflite``
left behind, or ``"refused"`` with the words. Another exception is left to the reader, as
``"failed"`` with its traceback.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.compress.run import ENVIRONMENT
from edgebuild.errors import EdgebuildError

SAMPLES = 24

RECIPES: tuple[tuple[str, ...], ...] = (
    ("prune:ratio=0.4,epochs=1", "prune:ratio=0.3,by=macs,epochs=0,criterion=l2",
     "prune:ratio=0.5,by=bytes,epochs=1,steps=2", "prune:ratio=0.4,by=ram,epochs=0"),
    ("l0:epochs=1,finetune=1", "l0:epochs=2,finetune=0,by=macs,strength=2"),
    ("remove_blocks:epochs=1", "remove_blocks:count=2,epochs=0,epochs_between=1",
     "remove_blocks:ratio=0.4,epochs=1"),
    ("low_rank:energy=0.8,epochs=1", "low_rank:ratio=0.5,epochs=0", "low_rank:energy=0.6,epochs=1"),
    ("scale:width=0.5,epochs=1", "scale:width=0.6,depth=0.5,epochs=1"),
    ("sparsify:sparsity=0.6,steps=2,epochs=1", "sparsify:sparsity=0.5,pattern=2:4,epochs=1,steps=1",
     "sparsify:sparsity=0.7,epochs=0,steps=1,scope=layer"),
    ("cluster:bits=3,epochs=1", "cluster:bits=2,epochs=0,groups=2"),
    ("distill:epochs=1", "distill:epochs=1,features=0.5"),
    ("map_edgetpu:epochs=1", "map_edgetpu:approximate=false"),
    ("quantize:epochs=1", "quantize", "quantize:epochs=1,equalize=true", "quantize:epochs=2",
     "quantize:rounding=adaround,rounding_steps=20,calibration=mse", "quantize:mixed=0.02",
     "quantize:format=int16x8", "quantize:format=int4", "quantize:format=float16"),
    ("cluster:bits=3,epochs=0,huffman", "quantize,huffman",
     "prune:epochs=0,quantize:epochs=1,huffman"),
)  # fmt: skip
"""For each pass, the recipes that put it on a model."""


def recipe_of(pair: int) -> str:
    """Return the recipe of a pair: each pass in turn, its options in turn."""
    forms = RECIPES[pair % len(RECIPES)]
    return forms[pair // len(RECIPES) % len(forms)]


def make(pair: int, folder: Path) -> None:
    """Leave the pair's int8 ``.tflite`` and its inputs in ``folder``."""
    from edgebuild.compress.apply import apply_recipe, open_original
    from edgebuild.compress.base import Context
    from edgebuild.compress.huffman import pack_model
    from edgebuild.compress.recipe import parse_recipe
    from edgebuild.compress.setup import TrainingSetup
    from edgebuild.models.keras_file import load_keras_model
    from edgebuild.models.tf_model import of_keras
    from tests.random_keras import RandomKeras

    model = RandomKeras(pair).model()
    original = folder / f"{pair}.keras"
    model.save(original)
    train, validation = _split(model, pair, SAMPLES), _split(model, pair, 12)
    teacher = open_original(original, "keras", trust=False, seed=pair)
    context = Context(train, validation, teacher, TrainingSetup(batch_size=8), seed=pair)
    state, _ = apply_recipe(parse_recipe(recipe_of(pair)), context)
    if "huffman" in recipe_of(pair):
        pack_model(state)
    content = state.flatbuffer
    if content is None:
        compressed = folder / f"{pair}-compressed.keras"
        state.model.save(compressed)
        again = of_keras(load_keras_model(compressed, "keras", trust=False))
        content = again.to_int8([array[:, np.newaxis] for array in train.x])
    (folder / f"{pair}.tflite").write_bytes(content)


def _split(model: Any, pair: int, count: int) -> Any:
    """Return samples, of two pairs in three with labels that fit the first output."""
    from edgebuild.compress.splits import Split

    rng = np.random.default_rng((pair, count))
    x = tuple(rng.normal(size=(count, *t.shape[1:])).astype(np.float32) for t in model.inputs)
    if pair % 3 == 0:
        return Split(x, None)
    last = model.outputs[0]
    if last.shape[-1] == 3 or last._keras_history.operation.activation.__name__ == "sigmoid":
        return Split(x, rng.integers(0, max(2, last.shape[-1]), count))
    return Split(x, rng.normal(size=(count, *last.shape[1:])).astype(np.float32))


def outcome(pair: int, folder: Path) -> dict[str, str]:
    """Return what came of a pair."""
    try:
        make(pair, folder)
    except EdgebuildError as error:
        return {"result": "refused", "kind": type(error).__name__, "words": str(error)}
    except Exception:
        return {"result": "failed", "words": traceback.format_exc()}
    return {"result": "made"}


def forked(pair: int, folder: Path) -> dict[str, str]:
    """Return what came of a pair in a process of its own, whose crash is a failure of the pair.

    TensorFlow is imported once, before: nothing of it has run in the process that is copied.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        with os.fdopen(writing, "w", encoding="utf-8") as answer:
            json.dump(outcome(pair, folder), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        told = answer.read()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return json.loads(told) if told else {"result": "failed", "words": f"ended with {code}"}


def main() -> None:
    """Make the pairs that the arguments name."""
    from edgebuild.models.keras_import import import_keras

    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    folder, *pairs = sys.argv[1:]
    import_keras()
    for pair in map(int, pairs):
        found = {"pair": pair, "recipe": recipe_of(pair), **forked(pair, Path(folder))}
        lines.write(json.dumps(found) + "\n")
        lines.flush()


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    main()
