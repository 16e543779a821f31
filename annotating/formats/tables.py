"""Rows of numbers as text, and the files that all data sets get alike: hand parameters and centres."""

import io

import numpy as np
from jaxtyping import Float

from annotating.annotations import Annotations
from annotating.place import Place
from render.parameter_files import write_parameter_files
from util.files import write_text

PARAMETERS = "posePara_lm_collosion"
"""Folder of hand parameters, as published."""


def lines_of(values: Float[np.ndarray, "n m"], decimals: int) -> list[str]:
    """A line of numbers a row; zeros where a row has a number that is not finite."""
    sound = np.isfinite(values).all(axis=1, keepdims=True)
    text = io.StringIO()
    np.savetxt(text, np.where(sound, values, 0.0) + 0.0, fmt=f"%.{decimals}f")  # + 0.0: no minus before a zero
    return text.getvalue().splitlines()


def write_parameters(place: Place, name: str, found: Annotations, rows: np.ndarray | None = None) -> None:
    """Hand parameters of some rows (None: all) as NAME-{pose,glb,shape,scale,trans}.txt, trans in mm."""
    write_parameter_files(place.path(f"{PARAMETERS}/{name}-pose.txt").with_name(name), found.hands_mm(rows))


def write_centres(place: Place, relative: str, centres_mm: Float[np.ndarray, "n 3"]) -> None:
    """Centres of cubes, a line a frame, `invalid` where there is no hand."""
    known = np.asarray(np.isfinite(centres_mm).all(axis=1))
    lines = lines_of(centres_mm, 3)
    write_text(
        place.path(relative),
        "".join(f"{line}\n" if there else "invalid\n" for line, there in zip(lines, known.tolist(), strict=True)),
    )


def centres_of(found: Annotations) -> np.ndarray:
    """(n, 3) float64 centres of the cubes that hands were read in; NaN without a hand."""
    return np.where(found.seen[:, None], found.centre_mm.astype(np.float64), np.nan)
