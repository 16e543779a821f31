"""A confusion matrix as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from util.files import write_whole
from util.plot import SETTINGS


def write_confusion(
    path: Path, confusion: Int[np.ndarray, "classes classes"], names: Sequence[str], title: str
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Draw rows as shares of their class, in %, and write a .png; returns the picture, RGB.

    Raises:
        UserError: the folder cannot be written to.
    """
    import matplotlib
    from matplotlib.figure import Figure

    share = 100 * confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    places = np.arange(len(names))
    with matplotlib.rc_context({**SETTINGS, "axes.spines.top": True, "axes.spines.right": True}):
        side = 2.2 + 0.28 * len(names)
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for row, column in zip(*np.nonzero(confusion), strict=True):
            value = share[row, column]
            axes.text(
                *(column, row, f"{value:.0f}"), ha="center", va="center", fontsize=6, color="w" if value > 55 else "k"
            )
        axes.set_xticks(places, names, rotation=90)
        axes.set_yticks(places, names)
        axes.set(xlabel="taken for", ylabel="is", title=title)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150)
    write_whole(path, content.getvalue())
    picture = cv2.imdecode(np.frombuffer(content.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "matplotlib writes pictures that can be read"
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)
