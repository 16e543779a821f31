"""Where reference numbers and real frames lie when they are at hand, and the skip for when they are not."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
REFERENCE = SHARED / "reference"

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/reference is not at hand")
