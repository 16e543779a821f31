"""Score files of predicted joints against labels, as benchmarks do. `python evaluate.py --help` lists the options.

python evaluate.py nyu PRED.txt [MORE.txt ...] --ground-truth FILE [--plot curves.pdf] [--json]
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from util.benchmarks import BENCHMARKS, Benchmark, BenchmarkName, Reading, same_frames
from util.cli import parse_settings, run_entry
from util.errors import UserError
from util.files import finite
from util.metrics import JointErrors
from util.plot import check_figure_path, write_scores_figure
from util.predictions import read_predictions
from util.scores import Scores, score_table


@dataclass(frozen=True)
class Evaluation:
    """One call of evaluate.py."""

    data_set: tyro.conf.Positional[BenchmarkName]
    """Whose frames were predicted."""
    files: tyro.conf.Positional[tuple[Path, ...]]
    """Predictions, .txt or .npz, one frame a line, every joint of the data set."""
    ground_truth: Path | None = None
    """Labels in a file of the same kind."""
    root: Path | None = None
    """Or the data set's folder: labels of its test split."""
    subjects: tuple[int, ...] = ()
    """MSRA from its folder: whose frames were predicted, in rising order; unset = all subjects there are."""
    plot: Path | None = None
    """Write a figure: .png, .pdf or .svg."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print all scores once more as one line of JSON, the last."""
    format: Literal["auto", "uvd", "xyz", "xyz-up"] = "auto"
    """What the numbers of text files are: u v (pixels) and d (mm); x y z (mm, y down); the same with y up. auto: what
    lies nearest the labels, if it does so clearly. An .npz file says it itself."""
    truth_format: Reading | None = None
    """The same for --ground-truth; unset = uvd (hands17: xyz)."""
    as_published: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Score only the joints that the published evaluation of self-supervised hands does: NYU 11 of 14, MSRA 19 of 21,
    ICVL 15 of 16. Not comparable with other methods' numbers."""


UNSET = Evaluation(tyro.MISSING, tyro.MISSING)


@dataclass(frozen=True)
class Labels:
    """True joints of every frame."""

    joints_mm: np.ndarray
    """(frames, joints, 3), y down, in the orientation of the images as stored; NaN where unknown."""
    groups: tuple[str, ...]
    """Subject or sequence of each frame, where known."""
    source: Path
    """Where they come from."""
    frames: tuple[str, ...] = ()
    """Name of each frame, where the file says."""


def main(words: Sequence[str]) -> None:
    """Print the scores of the files that the command line names."""
    if not words:
        raise UserError(f"Name a data set ({', '.join(BENCHMARKS)}) and files of predictions: see evaluate.py --help.")
    chosen = parse_settings(Evaluation, UNSET, words, "evaluate.py", (__doc__ or "").strip())
    benchmark = BENCHMARKS[chosen.data_set]
    if not chosen.files:
        raise UserError("There is nothing to score: name at least one file of predictions.")
    if chosen.as_published and not benchmark.published_joints:
        raise UserError(f"There is no published evaluation of {benchmark.name} to follow: leave --as-published out.")
    if chosen.plot is not None:
        check_figure_path(chosen.plot)
    labels = _labels(chosen, benchmark)
    scores = [score_file(path, name, chosen, benchmark, labels) for path, name in _named(chosen.files)]
    joints = f"{len(scores[0].errors.names)} joints"
    if chosen.as_published:
        joints += f" of {len(benchmark.joints)}, as published"
    title = f"{benchmark.name.upper()}: {len(labels.joints_mm):,} frames, {joints}"
    sys.stdout.write(f"{title}\n\n{score_table(scores)}\n")
    if chosen.plot is not None:
        write_scores_figure(chosen.plot, scores, title)
        sys.stdout.write(f"\n{chosen.plot} written.\n")
    if chosen.json:
        result = {
            "data_set": benchmark.name,
            "as_published": chosen.as_published,
            "labels": str(labels.source),
            "files": {score.name: score.plain() for score in scores},
        }
        sys.stdout.write(f"{json.dumps(finite(result))}\n")


def score_file(path: Path, name: str, chosen: Evaluation, benchmark: Benchmark, labels: Labels) -> Scores:
    """Scores of one file of predictions.

    Raises:
        UserError: it cannot be read, does not fit the labels, or does not tell pixels from millimetres.
    """
    file = read_predictions(path, len(benchmark.joints), benchmark.joints.names)
    if len(file.values) != len(labels.joints_mm):
        raise UserError(
            f"{path} has {len(file.values):,} frames and {labels.source} has {len(labels.joints_mm):,}: take "
            "predictions of the same frames, one a line."
        )
    same_frames(file, labels.frames)
    reading = None if chosen.format == "auto" else chosen.format
    predicted_mm, reading = benchmark.predictions_mm(file, labels.joints_mm, reading)
    errors = JointErrors.between(predicted_mm, labels.joints_mm, benchmark.joints.names)
    if chosen.as_published:
        return Scores(name, errors.only(benchmark.published_joints), reading, labels.groups)
    subsets = {what: errors.only(joints) for what, joints in benchmark.subsets.items()}
    return Scores(name, errors, reading, labels.groups, subsets)


def _labels(chosen: Evaluation, benchmark: Benchmark) -> Labels:
    if (chosen.ground_truth is None) == (chosen.root is None):
        raise UserError("Labels come from one of --ground-truth FILE and --root DIR: give one of them.")
    if chosen.subjects and (benchmark.name != "msra" or chosen.root is None):
        raise UserError("--subjects is for msra with --root DIR: leave it out.")
    if chosen.root is not None:
        return _labels_of_data_set(chosen, benchmark, chosen.root)
    assert chosen.ground_truth is not None
    file = read_predictions(chosen.ground_truth, len(benchmark.joints), benchmark.joints.names)
    true_mm = benchmark.labels_mm(file, chosen.truth_format)
    return Labels(true_mm, benchmark.groups(len(true_mm)), chosen.ground_truth, file.frames)


def _labels_of_data_set(chosen: Evaluation, benchmark: Benchmark, root: Path) -> Labels:
    """Labels of a data set's test split, turned back to the orientation of its own images."""
    from config import DataConfig
    from dataloader.datasets.catalogue import list_split  # late: with it comes torch, which files alone do not need

    if not root.exists():
        raise UserError(f"--root {root} does not exist: check the path.")
    subjects = None
    if benchmark.name == "msra":
        subjects = chosen.subjects or tuple(s for s in range(9) if (root / f"P{s}").is_dir()) or None
    listing = list_split(DataConfig(name=benchmark.name, root=root, test_subjects=subjects), "test")
    if listing.joints_mm is None:
        raise UserError(f"{root} holds no labels of its test split: give them with --ground-truth FILE.")
    sides = (-1.0, 1.0, 1.0) if listing.mirrored_width else (1.0, 1.0, 1.0)
    return Labels(listing.joints_mm * sides, listing.groups, root)


def _named(files: Sequence[Path]) -> list[tuple[Path, str]]:
    """Files with the shortest ends of their paths that tell them apart, without suffix."""
    for parts in range(1, max(len(file.parts) for file in files) + 1):
        names = ["/".join((*file.parts[-parts:-1], file.stem)) for file in files]
        if len(set(names)) == len(names):
            return list(zip(files, names, strict=True))
    raise UserError(f"{next(f for k, f in enumerate(files) if f in files[:k])} is named twice: leave one out.")


if __name__ == "__main__":
    sys.exit(run_entry(main))
