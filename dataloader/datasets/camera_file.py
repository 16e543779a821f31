"""camera.json: what a folder of one's own depth frames says about the camera that took them."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from util.errors import UserError
from util.files import read_json
from util.reading import is_plain, readable

EXAMPLE = '{"fx": 475.0, "fy": 475.0, "cx": 320.0, "cy": 240.0, "unit_mm": 1.0}'
"""A camera file."""


SMALLEST, LARGEST = 1e-6, 1e6
"""Focal lengths, places and units beyond these are no camera's, and what is computed with them overflows."""


@dataclass(frozen=True)
class OwnCamera:
    """What camera.json says."""

    fx: float
    fy: float
    cx: float
    cy: float
    unit_mm: float = 1.0
    """Millimetres a stored unit."""
    width: int | None = None
    height: int | None = None
    mirrored: bool = False
    """Whether the images are flipped left to right."""
    side: Literal["right", "left"] = "right"
    """Which hand they show."""

    @property
    def flip(self) -> bool:
        """Whether images are flipped on load, so that they look like those of a right hand."""
        return self.mirrored != (self.side == "left")


def read_camera(path: Path) -> OwnCamera:
    """A camera file.

    Raises:
        UserError: it is missing, no JSON object, has an unknown or lacks a needed entry, or an entry is out of range.
    """
    if not is_plain(path):
        raise UserError(f"{path} is missing: write the camera of your frames into it, such as {EXAMPLE}.")
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no entries: write one line into it, such as {EXAMPLE}.")
    known = [field.name for field in fields(OwnCamera)]
    if unknown := [key for key in found if key not in known]:
        raise UserError(f"{path} has an unknown entry '{readable(unknown[0])}': choose from {', '.join(known)}.")
    if missing := [key for key in ("fx", "fy", "cx", "cy") if key not in found]:
        raise UserError(f"{path} does not say {missing[0]}: write it as in {EXAMPLE}.")
    for key, value in found.items():
        if wanted := _wanted(key, value):
            raise UserError(f"{path} says {key} is {readable(repr(value))}: give it as {wanted}.")
    return OwnCamera(**found)


def _wanted(key: str, value: Any) -> str:
    """What an entry should be, where it is something else; else empty."""
    if key == "mirrored":
        return "" if isinstance(value, bool) else "true or false"
    if key == "side":
        return "" if value in ("right", "left") else '"right" or "left"'
    if key in ("width", "height"):
        return "" if type(value) is int and 0 < value <= LARGEST else "a whole number of pixels above 0"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key in ("cx", "cy"):
        return "" if number and abs(value) <= LARGEST else "a number of pixels"
    return "" if number and SMALLEST <= value <= LARGEST else "a number above 0"
