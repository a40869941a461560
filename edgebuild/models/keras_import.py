"""Import TensorFlow and Keras quickly. For the child processes."""

from __future__ import annotations

import sys

_WRAPPED = ("IPython", "cv2", "huggingface_hub", "matplotlib", "pandas", "pydot", "sklearn")
"""What Keras imports, where it is installed, only to draw, wrap or publish."""


def import_keras() -> None:
    """Import TensorFlow and Keras without the packages that Keras can do without.

    Beside scikit-learn and matplotlib that saves a third of the time. Who imports those packages
    later gets them. ImportError where TensorFlow is not installed.
    """
    hidden = [name for name in _WRAPPED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not there
    try:
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    finally:
        for name in hidden:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)
