"""Mark finger tips on real frames by eye, check the marks, and score predictions against them (tests/data/marks).

python bench/mark.py sheet FOLDER --out DIR [--frames FILE | --every N]   enlarged frames with a grid to read off
python bench/mark.py click FOLDER --marks FILE [--frames FILE]            or mark them in a window
python bench/mark.py fill MARKS FOLDER                                    observed depths into a file of marks
python bench/mark.py show MARKS FOLDER --out DIR                          the marks drawn over their frames
python bench/mark.py spread FIRST SECOND --focal PX                       how far marks made twice lie apart
python bench/mark.py score RUN/predictions --marks FILE                   errors of what the phase test wrote

FOLDER is one of SHREC'17 or of one's own frames (camera.json); its test frames are shown, in pixels of the images as
they are stored. A file of frames names one a line.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.mark_views import Folder, sheet, together  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.draw import write_png  # noqa: E402
from util.errors import UserError  # noqa: E402
from util.marks import NEAR_PX, Marks, depth_at, read_marks, score_predictions, spread, write_marks  # noqa: E402


def write_sheets(folder: Folder, frames: Sequence[str], out: Path, columns: int, marks: Marks | None = None) -> int:
    """Write pictures of frames, `columns` squared of them on each; returns how many files."""
    pages = range(0, len(frames), columns**2)
    for page, at in enumerate(pages):
        pictures = [sheet(folder.view(name), marks) for name in frames[at : at + columns**2]]
        write_png(out / f"{page:03d}.png", together(pictures, columns))
    return len(pages)


def fill(path: Path, root: Path) -> Marks:
    """Look up the depth observed at each mark and write the file anew.

    Raises:
        UserError: a mark is farther than `NEAR_PX` from any reading of its hand.
    """
    marks = read_marks(path)
    folder = Folder.open(root, marks.frames)
    views = {name: folder.view(name) for name in dict.fromkeys(marks.files)}
    depths = []
    for file, joint, (u, v) in zip(marks.files, marks.joints, marks.uv, strict=True):
        view = views[file]
        depths.append(depth_at(view.depth_mm, float(u) - view.corner[0], float(v) - view.corner[1]))
        if np.isnan(depths[-1]):
            raise UserError(f"{path} marks {joint} of {file} over {NEAR_PX:g} px beside the hand: mark it again.")
    marks = marks.with_depths(np.array(depths, np.float64))
    write_marks(path, marks, folder.listing.files)
    return marks


def click(root: Path, path: Path, frames: Sequence[str], every: int) -> None:
    """Mark frames in a window; the file is read first where it is there."""
    import matplotlib.pyplot as plt  # late: it looks for a screen

    from bench.mark_click import Clicker

    marks = read_marks(path) if path.is_file() else Marks((), (), np.zeros((0, 2)), np.zeros(0))
    folder = Folder.open(root, frames, every)
    with plt.rc_context({"keymap.save": [], "keymap.pan": []}):  # s and p are ours
        clicker = Clicker(plt.figure(figsize=(16, 9)), folder.names, folder.view, marks)
        clicker.saved = lambda marks: write_marks(path, marks)
        plt.show()


def score_table(scores: dict[str, dict]) -> str:
    """A row a branch: errors of tips, and of the wrist."""
    columns = (("median px", "median_px"), ("mean px", "mean_px"), ("median mm", "median_mm"), ("mean mm", "mean_mm"))
    head = f"{'':22}{'tips':>6}" + "".join(f"{title:>11}" for title, _ in columns)
    lines = [f"{head}{'in 10 mm':>11}{'wrists':>8}{'median mm':>11}"]
    for name, tips in scores.items():
        wrist = tips["wrist"]
        errors = "".join(_cell(tips[measure], ".2f") for _, measure in columns)
        line = f"{name:22}{tips['n']:6d}{errors}{_cell(tips['within_10'], '.1%')}"
        lines.append(f"{line}{wrist['n']:8d}{_cell(wrist['median_mm'], '.2f')}")
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    """A measure, or a dash where nothing was marked."""
    return f"{'-' if value is None else format(value, form):>11}"


def main(line: Sequence[str]) -> None:
    """Do what the command line asks for."""
    asked = _parser().parse_args(line)
    if asked.command in ("sheet", "click"):
        frames = [] if asked.frames is None else _lines(asked.frames)
    if asked.command == "sheet":
        for root in asked.folders:
            folder = Folder.open(root, frames, asked.every)
            out = asked.out / root.name if len(asked.folders) > 1 else asked.out
            n = write_sheets(folder, folder.names, out, asked.columns)
            sys.stdout.write(f"{len(folder.names)} frames in {n} pictures in {out}\n")
    elif asked.command == "click":
        click(asked.folder, asked.marks, frames, asked.every)
    elif asked.command == "fill":
        marks = fill(asked.marks, asked.folder)
        sys.stdout.write(f"{len(marks)} marks on {len(marks.frames)} frames, nothing on {len(marks.empty)} of them\n")
    elif asked.command == "show":
        marks = read_marks(asked.marks)
        folder = Folder.open(asked.folder, marks.frames)
        n = write_sheets(folder, list(dict.fromkeys(marks.files)), asked.out, asked.columns, marks)
        sys.stdout.write(f"{n} pictures in {asked.out}\n")
    elif asked.command == "spread":
        found = spread(read_marks(asked.first), read_marks(asked.second), asked.focal)
        sys.stdout.write("".join(f"{name:10} {value:.3f}\n" for name, value in found.items()))
    elif asked.command == "score":
        sys.stdout.write(f"{score_table(score_predictions(asked.predictions, asked.marks, asked.allow_missing))}\n")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"--frames {path} does not exist: check the path.")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python bench/mark.py", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, *paths: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        for path in paths:
            added.add_argument(path, type=Path)
        return added

    show = command("show", "draw marks over their frames, to check them", "marks", "folder")
    fresh = command("sheet", "enlarge frames, with a grid to read pixels off")
    fresh.add_argument("folders", type=Path, nargs="+", metavar="folder")
    window = command("click", "mark frames in a window", "folder")
    window.add_argument(
        "--marks", type=Path, required=True, metavar="FILE", help="read first, and written by the key s"
    )
    for added in (show, fresh):
        added.add_argument("--out", type=Path, required=True, metavar="DIR", help="where pictures go")
        added.add_argument("--columns", type=int, default=1, metavar="N", help="N x N frames on a picture (1)")
    for added in (fresh, window):
        added.add_argument("--frames", type=Path, metavar="FILE", help="a file that names the frames, one a line")
        added.add_argument("--every", type=int, default=1, metavar="N", help="without it: every N-th test frame")
    command("fill", "look up the depth observed at each mark", "marks", "folder")
    twice = command("spread", "compare marks that were made twice", "first", "second")
    twice.add_argument("--focal", type=float, required=True, metavar="PX", help="focal length of the camera")
    score = command("score", "score predictions at marked tips", "predictions")
    score.add_argument("--marks", type=Path, required=True, metavar="FILE")
    score.add_argument("--allow-missing", action="store_true", help="score the marked frames that were predicted")
    return parser


if __name__ == "__main__":
    sys.exit(run_entry(main))
