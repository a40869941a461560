"""Bytes of code that a build links, known without compiling."""

from edgebuild.code_size.predict import CodeSize, Part, predict_code

__all__ = ["CodeSize", "Part", "predict_code"]
