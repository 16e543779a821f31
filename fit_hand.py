"""Fit hands to labelled joints: parameters of a hand model from annotations alone. `--help` lists the options.

python fit_hand.py LABELS --joints nyu14 --camera 588.03 -587.07 320 240 --out DIR
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from util.cli import parse_settings, run_entry
from util.errors import UserError
from util.predictions import CameraNumbers


@dataclass(frozen=True)
class Fitting:
    """One call of fit_hand.py."""

    labels: tyro.conf.Positional[Path]
    """One frame a line: with --camera u v (pixels) and d (mm) of each joint, without x y z (mm, y down)."""
    joints: Literal["nyu14", "icvl16", "msra21", "mano21", "shrec22"]
    """Which joints, in the data set's own order."""
    camera: CameraNumbers | None = None
    """fx fy cx cy in pixels; a negative fy means that y grows upwards, and is turned."""
    side: Literal["right", "left"] = "right"
    """Whose hands the labels are, as they are stored (ICVL: left)."""
    subjects: tuple[str, ...] = ()
    """How many frames each subject has, in their order, or a file with a subject's name a frame; unset: one subject."""
    hand: Path | None = None
    """Another hand model, MANO/MANO_RIGHT.pkl say; unset: the open hand."""
    offsets: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Take joints where the data set's own lie beside the model's (docs/fitting.md), False: where the names say."""
    device: str = "cpu"
    """cpu, or cuda."""
    threads: int = 0
    """Chunks of frames solved at once on a CPU; 0: one a core."""
    out: Path | None = None
    """Write hand-parameter files, joints, residuals and failures into this folder."""
    vertices: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write surfaces too."""
    pictures: Path | None = None
    """Write a .png of 24 frames: labels, fitted joints, fitted surface."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """End with one line of JSON."""


def main(words: Sequence[str]) -> None:
    """Fit what the command line names, print how well, write what is asked for."""
    if not words:
        raise UserError("Name a file of labels and its --joints: see fit_hand.py --help.")
    default = Fitting(tyro.MISSING, tyro.MISSING)
    chosen = parse_settings(Fitting, default, words, "fit_hand.py", (__doc__ or "").strip())
    if chosen.pictures is not None and chosen.pictures.suffix != ".png":
        raise UserError(f"--pictures {chosen.pictures} is no .png file: give it that suffix.")
    if chosen.vertices and chosen.out is None:
        raise UserError("--vertices are written into a folder: add --out DIR.")
    if chosen.threads < 0:
        raise UserError(f"--threads {chosen.threads} is negative: give how many, or 0 for one a core.")

    import torch  # late: --help and a wrong word are answered without it
    from tqdm import tqdm

    from fitting.correspondence import FITTED, Correspondence
    from fitting.fit import HandFitter
    from fitting.labels import read_labels
    from fitting.output import residual_table, summary, write_fit
    from fitting.pictures import draw_sheet
    from render.hand_layer import HandLayer
    from render.hand_model import load_hand_model
    from util.draw import write_png

    left = chosen.side == "left"
    labels = read_labels(chosen.labels, FITTED[chosen.joints], chosen.camera, left, chosen.subjects)
    try:
        layer = HandLayer(load_hand_model(chosen.hand)).to(torch.device(chosen.device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"--device {chosen.device} cannot be used ({reason}): choose cpu.") from None
    correspondence = Correspondence.of(chosen.joints, chosen.offsets)
    threads = chosen.threads or len(os.sched_getaffinity(0))
    fitter = HandFitter(layer, correspondence, threads=threads, surfaces=chosen.vertices)
    with tqdm(total=len(labels.subjects), unit=" frames", disable=None, leave=False) as bar:
        begun = time.perf_counter()
        fit, subjects = fitter(labels.joints_mm, labels.subjects, bar.update)
        seconds = time.perf_counter() - begun
    figures = summary(fit, seconds)
    for name, subject in zip(labels.names, subjects, strict=True):
        shape = " ".join(f"{value:.2f}" for value in subject.shape.tolist())
        sys.stdout.write(f"subject {name}: size {float(subject.size):.3f}, shape {shape}\n")
    sys.stdout.write(f"\n{residual_table(fit, correspondence)}\n\n")
    sys.stdout.write(
        f"{figures['frames']:,} frames, median {figures['median_residual_mm']:.2f} mm over {len(fit.shared)} joints, "
        f"{100 * figures['converged']:.2f} % converged, {figures['failed']} failed, {figures['collisions_left']} with "
        f"deep overlaps left, {figures['frames_per_s']:.0f} frames/s with {threads} threads\n"
    )
    if chosen.out is not None:
        written = write_fit(chosen.out, fit, labels, correspondence, left)
        sys.stdout.write(f"{chosen.out}: {', '.join(written)} written.\n")
    if chosen.pictures is not None:
        write_png(chosen.pictures, draw_sheet(fit, labels, correspondence, layer))
        sys.stdout.write(f"{chosen.pictures} written.\n")
    if chosen.json:
        sys.stdout.write(f"{json.dumps(figures)}\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
