"""Scores as one figure that a paper could print: success curves beside the error of each joint."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from util.errors import UserError
from util.files import write_whole
from util.optional import optional
from util.scores import CURVE_MM, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers (Okabe and Ito, Color Universal Design, 2008)."""
IN_CURVES = 6
"""So many names have room below the curves, where nothing else is."""
DASHES = ("-", "--", "-.", ":")
"""Change when the colours are used up."""
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # letters stay letters: publishers refuse Type 3 fonts
    "svg.fonttype": "none",
    "svg.hashsalt": "scores",
}


def check_figure_path(path: Path) -> None:
    """Before anything is computed.

    Raises:
        UserError: the suffix is none of `SUFFIXES`, or matplotlib is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"--plot {path} does not end in {', '.join(SUFFIXES)}: choose one of them.")
    optional("matplotlib", "--plot needs matplotlib", "pip install -r requirements.txt")


def write_scores_figure(path: Path, scores: Sequence[Scores], title: str = "") -> None:
    """Success curves (share of frames whose worst joint is within t mm) beside mean errors by joint, a colour a file.

    Args:
        path: .png (300 dpi), .pdf or .svg.
        scores: at least one, all of the same joints.
        title: above both.

    Raises:
        UserError: `check_figure_path`, or the folder cannot be written to.
    """
    check_figure_path(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        joints = len(scores[0].errors.names)
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, max(1.1, 0.075 * joints)))
        _draw_curves(left, scores)
        _draw_joints(right, scores)
        if len(scores) <= IN_CURVES:
            left.legend(loc="lower right", frameon=False)
        else:
            figure.legend(loc="outside lower center", ncols=3, frameon=False)
        if title:
            figure.suptitle(title, fontsize=9)
        _save(path, figure)


def write_lines_figure(
    path: Path, panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], across: str
) -> None:
    """Panels beside each other, each with a line a name: {what is up: {name: (x, y)}}; the same names have one colour.

    Args:
        path: .png (300 dpi), .pdf or .svg.
        panels: at least one.
        across: what x is.

    Raises:
        UserError: `check_figure_path`, or the folder cannot be written to.
    """
    check_figure_path(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 2.7), layout="constrained")
        for axes, (up, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for number, (name, (x, y)) in enumerate(lines.items()):
                axes.plot(x, y, linewidth=1.2, label=name, **_style(number))
            axes.set(xlabel=across, ylabel=up, ylim=(0, None))
            axes.grid(linewidth=0.4, color="0.88")
            axes.set_axisbelow(True)
        names, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(names, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        _save(path, figure)


def _save(path: Path, figure: "Figure") -> None:
    content = io.BytesIO()
    stamp = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}[path.suffix]
    figure.savefig(content, format=path.suffix[1:], dpi=300, metadata=stamp)
    write_whole(path, content.getvalue())


def _style(number: int) -> dict:
    return {"color": COLOURS[number % len(COLOURS)]}


def _draw_curves(axes: "Axes", scores: Sequence[Scores]) -> None:
    for number, score in enumerate(scores):
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        percent = 100 * score.errors.success_curve(CURVE_MM)
        label = f"{score.name} ({score.errors.mean_mm:.2f} mm)"
        axes.plot(CURVE_MM, percent, dash, linewidth=1.3, label=label, **_style(number))
    axes.set(xlim=(CURVE_MM[0], CURVE_MM[-1]), ylim=(0, 100), xticks=range(0, CURVE_MM[-1] + 1, 10))
    axes.set(xlabel="limit t on the worst joint, mm", ylabel="frames within t, %")
    axes.grid(linewidth=0.4, color="0.88")
    axes.set_axisbelow(True)


def _draw_joints(axes: "Axes", scores: Sequence[Scores]) -> None:
    from matplotlib.ticker import MaxNLocator

    names = [*scores[0].errors.names, "mean"]
    places, width = np.arange(len(names)), 0.8 / len(scores)
    for number, score in enumerate(scores):
        heights = [*score.errors.joint_mm.values(), score.errors.mean_mm]
        axes.bar(places + (number - (len(scores) - 1) / 2) * width, heights, width, **_style(number))
    axes.axvline(len(names) - 1.5, color="0.6", linewidth=0.6)
    axes.set_xticks(places, [name.replace("_", " ") for name in names], rotation=55, ha="right", rotation_mode="anchor")
    axes.set(xlim=(-0.6, len(names) - 0.4), ylabel="mean error, mm")
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(axis="y", linewidth=0.4, color="0.88")
    axes.set_axisbelow(True)
