"""Under pytest every shape and type that the rooms state is checked on each call (jaxtyping + beartype)."""

import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("util", "render", "fitting", "dataloader", "model", "training", "predicting", "gesture", "annotating")


def _checked_modules() -> list[str]:
    """Modules of the rooms, except those that define kernels: their annotations are warp's types, not Python's."""
    files = (file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py")))
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if file.name != "__init__.py" and "import warp" not in file.read_text(encoding="utf-8")
    ]


if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
# The numeric tower: where a float is asked for, an int will do.
_HOOK = install_import_hook(_checked_modules(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the repository; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("../shared is absent")
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test draws the same numbers every time, whatever runs before it."""
    torch.manual_seed(0)
