"""Write the generated part of docs/delegates.md: python scripts/delegates_doc.py"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgebuild.delegates.document import with_tables  # noqa: E402

page = ROOT / "docs" / "delegates.md"
page.write_text(with_tables(page.read_text()))
