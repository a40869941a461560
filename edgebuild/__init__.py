"""edgebuild: from a trained model to verified firmware.

``build(model, target=...)`` does what ``edgebuild build --no-search`` does and returns the Report;
``search=True`` leaves out the ``--no-search``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebuild.pipeline.synthesis import Synthesis
    from edgebuild.report.model import Report

__version__ = "0.1.0"
__all__ = ["build", "synthesize"]


def build(
    model: str | Path,
    *,
    target: str,
    use_cache: bool = True,
    search: bool = False,
    **options: Any,
) -> Report:
    """Build ``model`` for ``target`` and return the Report.

    Args:
        model: a ``.keras``, ``.h5`` or ``.tflite`` file or a SavedModel folder.
        target: the name of a shipped profile, or the path of one.
        use_cache: answer from the last build when nothing has changed.
        search: when a budget is missed, search a compression that keeps it, as the command does.
        options: the other fields of ``edgebuild.pipeline.BuildRequest``: ``data``, ``budget``,
            ``name``, ``out``, ``toolchain``, ``run``, ``samples``, ``seed``, ``trust_model``, ...

    Raises:
        EdgebuildError: no report could be made. A missed budget or a differing output byte does
            not raise: see ``Report.passed``. A search that finds nothing raises CheckFailedError.
    """
    from edgebuild.pipeline import BuildRequest, make_plan, run_plan

    request = BuildRequest(model=Path(model), target=target, **options)
    if search:
        from edgebuild.search import SearchRequest, build_within_budget

        return build_within_budget(SearchRequest(request), use_cache=use_cache)
    return run_plan(make_plan(request), use_cache=use_cache)


def synthesize(model: str | Path, *, out: str | Path, **options: Any) -> Synthesis:
    """Write inputs for a Keras ``model`` that has come without data, as ``edgebuild synthesize``.

    Args:
        model: a ``.keras`` or ``.h5`` file whose model has batch normalization.
        out: the ``.npz`` to write.
        options: the others of ``edgebuild.pipeline.synthesis.make_inputs``: ``samples``,
            ``limits``, ``steps``, ``seed``, ``trust``.

    Raises:
        EdgebuildError: nothing was written.
    """
    from edgebuild.pipeline.synthesis import make_inputs

    return make_inputs(Path(model), Path(out), **options)
