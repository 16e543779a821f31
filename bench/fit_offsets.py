"""Learn where a data set's joints lie beside the hand model's keypoints: the tables of fitting/correspondence.py.

python bench/fit_offsets.py nyu14 LABELS --camera 588.03 -587.07 320 240 --subjects 2440 5812 [--check]
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from fitting.calibrate import find_offsets
from fitting.chain import Chain
from fitting.correspondence import FITTED, Correspondence
from fitting.cost import FitWeights
from fitting.fit import HandFitter
from fitting.labels import read_labels
from fitting.prior import PosturePrior
from fitting.subject import Subject
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.cli import parse_settings, run_entry
from util.errors import UserError
from util.predictions import CameraNumbers


@dataclass(frozen=True)
class Learning:
    """One call of bench/fit_offsets.py."""

    joints: tyro.conf.Positional[Literal["nyu14", "icvl16", "msra21", "mano21", "shrec22"]]
    """What the labels are."""
    labels: tyro.conf.Positional[Path]
    """One frame a line."""
    camera: CameraNumbers | None = None
    """fx fy cx cy."""
    side: Literal["right", "left"] = "right"
    """Whose hands."""
    subjects: tuple[str, ...] = ()
    """How many frames each subject has."""
    check: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fit each subject with offsets learned from the others alone."""
    hand: Path | None = None
    """Another hand model."""


def main(words: Sequence[str]) -> None:
    """Print a table of offsets and what they were found with."""
    chosen = parse_settings(
        Learning, Learning(tyro.MISSING, tyro.MISSING), words, "bench/fit_offsets.py", __doc__ or ""
    )
    labels = read_labels(chosen.labels, FITTED[chosen.joints], chosen.camera, chosen.side == "left", chosen.subjects)
    layer = HandLayer(load_hand_model(chosen.hand))
    correspondence = Correspondence.of(chosen.joints, offsets=False)
    own = [labels.joints_mm[labels.subjects == number].float() for number in range(len(labels.names))]
    if chosen.check:
        _check(layer, correspondence, own, labels.names)
        return
    offsets, subjects = _learned(layer, correspondence, own)
    for name, subject in zip(labels.names, subjects, strict=True):
        shape = " ".join(f"{value:.2f}" for value in subject.shape)
        sys.stdout.write(f"subject {name}: size {float(subject.size):.3f}, shape {shape}\n")
    for joint, (forward, thumbwards, back) in zip(correspondence.joints.names, offsets.tolist(), strict=True):
        sys.stdout.write(f"        ({forward:.1f}, {thumbwards:.1f}, {back:.1f}),  # {joint}\n")


@torch.no_grad()
def _learned(layer: HandLayer, correspondence: Correspondence, labels_mm: list[Tensor]) -> tuple[Tensor, list[Subject]]:
    like = layer.template
    chain = Chain(layer, correspondence.combinations.to(like), correspondence.bones, correspondence.offsets_mm)
    tips = correspondence.combinations[:, 16:].sum(1) == 1
    share = torch.ones(len(correspondence.joints))
    return find_offsets(chain, PosturePrior.of(like), labels_mm, tips, share, FitWeights())


def _check(layer: HandLayer, correspondence: Correspondence, own: list[Tensor], names: tuple[str, ...]) -> None:
    if len(own) < 2:
        raise UserError("--check leaves one subject out and learns from the others: give two --subjects at least.")
    for number, name in enumerate(names):
        offsets, _ = _learned(layer, correspondence, own[:number] + own[number + 1 :])
        fit, _ = HandFitter(layer, replace(correspondence, offsets_mm=offsets))(own[number])
        sys.stdout.write(
            f"subject {name}, by the others' offsets: median {fit.median_mm:.2f} mm, "
            f"{100 * float(fit.converged.double().mean()):.2f} % converged\n"
        )


if __name__ == "__main__":
    sys.exit(run_entry(main))
