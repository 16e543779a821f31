"""How far annotated finger tips lie from those marked by eye: `python bench/annotated.py OUT ... --marks FILE`.

OUT: folders that annotate.py wrote for SHREC'17. Errors are in the plane of the image at the depth of the mark.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from dataloader.camera import Camera
from dataloader.datasets.gestures import CAMERA
from util.arrays import read_npz
from util.cli import run_entry
from util.errors import UserError
from util.marks import read_marks, tip_errors

FILE = "shrec-frames.npz"
HEAD = f"{'':>24}{'frames':>8}{'tips':>6}{'median mm':>11}{'mean mm':>9}{'within 10':>11}{'surface mm':>12}"


def main(words: Sequence[str]) -> None:
    """Print a line a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="OUT")
    parser.add_argument("--marks", type=Path, default=Path("tests/data/marks/shrec.csv"), metavar="FILE")
    asked = parser.parse_args(words)
    marks = read_marks(asked.marks)
    print(HEAD)
    for folder in asked.folders:
        columns = read_npz(folder / FILE, "annotate the data set again")
        files, joints_mm = columns["frame"].tolist(), columns["joints_mm"]
        seen = np.isfinite(joints_mm).all(axis=(1, 2))
        known = marks.of({files[row] for row in np.flatnonzero(seen)})
        if not len(known):
            raise UserError(f"{folder / FILE} has a hand in no marked frame: annotate the subjects that are marked.")
        uvd = Camera.of(*CAMERA, dtype=torch.float64).project(torch.from_numpy(joints_mm).double()).numpy()
        tips = tip_errors(known, files, uvd, CAMERA).summary()
        rows = [files.index(file) for file in dict.fromkeys(known.files)]
        surface = columns["measures"][rows, columns["measure_names"].tolist().index("surface_mm")]
        cells = f"{len(rows):8d}{tips['n']:6d}{tips['median_mm']:11.1f}{tips['mean_mm']:9.1f}{tips['within_10']:11.2f}"
        print(f"{folder.name:>24}{cells}{np.nanmean(surface):12.1f}")


if __name__ == "__main__":
    sys.exit(run_entry(main))
