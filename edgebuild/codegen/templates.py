"""The one Jinja environment. Templates print; Python computes."""

from __future__ import annotations

from functools import cache
from typing import Any

from edgebuild.resources import resource_dir


def render(template: str, **values: Any) -> str:
    """Return the template of that name filled with ``values``; a missing value is an error."""
    return str(_environment().get_template(template).render(values))


@cache
def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_dir("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
