"""The versions of what others build on; docs/versions.md says what each promises.

``tests/unit/test_versions.py`` fails when one of them changes and its number does not.
"""

from __future__ import annotations

JSON_SCHEMA = 2
"""Of ``report.json``, ``build.lock`` and all that ``--json`` prints: rises when a key goes, comes
or changes its meaning."""

C_INTERFACE = 1
"""Of ``edgebuild/eb.h`` and what a generated header declares: rises when code that was written for
the one before would no longer compile, link or mean the same."""

EXIT_CODES = 1
"""Of the exit codes: rises when one changes its meaning or another is added."""
