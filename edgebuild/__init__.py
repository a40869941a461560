"""edgebuild: from a trained model to verified firmware.

``build(model, target=...)`` does what ``edgebuild build --no-search`` does and returns the Report;
``search=True`` leaves out the ``--no-search``. ``synthesize(model, out=...)`` makes inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebuild.api import build, synthesize

__version__ = "0.1.0"
__all__ = ["build", "synthesize"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: the command line does without."""
    if name in __all__:
        from edgebuild import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgebuild' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
