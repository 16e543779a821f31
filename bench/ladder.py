"""Climb a ladder, the benchmark's or that on real depth: run rows, write tables, test shipped weights.

docs/benchmark.md tells what the rows are.

python bench/ladder.py --list
python bench/ladder.py --rows synthetic cyclegan --seeds 0 1
python bench/ladder.py --check
python bench/ladder.py --on real --shrec DIR --kinect DIR --rows all
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.ladder_real import PLACE, REAL, REAL_SHEET, frames_folder, on_kinect, unlabelled_measures  # noqa: E402
from bench.ladder_rows import BENCHMARK, ROWS, Course  # noqa: E402
from bench.ladder_table import (  # noqa: E402
    BENCHMARK_SHEET,
    Line,
    Sheet,
    finished,
    labelled_measures,
    line_of,
    read_lines,
)
from config import WEIGHTS  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402
from util.files import read_json, write_text  # noqa: E402

RESULTS = {
    "benchmark": ROOT / "bench" / "results" / "ladder.jsonl",
    "real": ROOT / "bench" / "results" / "ladder_real.jsonl",
}
"""One line a finished row and seed, for each ladder."""
MARKS = ROOT / "tests" / "data" / "marks"
"""Finger tips marked by eye."""
DOCUMENT = ROOT / "docs" / "benchmark.md"
"""Where the table goes."""
RUNS = Path("runs") / "ladder"
"""Run folders, from the root; weights of finished rows lie in its folder `weights`."""
SHIPPED = {
    "synthetic_only_mm": ("synthetic-2", WEIGHTS / "benchmark-synthetic.safetensors"),
    "final_mm": ("fitted", WEIGHTS / "benchmark-final.safetensors"),
    "supervised_mm": ("supervised", WEIGHTS / "benchmark-supervised.safetensors"),
}
"""What --check reports -> the row that it is of, and where its weights are."""


@dataclass(frozen=True)
class Ladder:
    """Where rows are run and what they leave."""

    runs: Path = RUNS
    results: Path = RESULTS["benchmark"]
    document: Path = DOCUMENT
    more: tuple[str, ...] = ()
    """Further words of every command."""
    course: Course = BENCHMARK
    sheet: Sheet = BENCHMARK_SHEET
    roots: Mapping[str, Path] = field(default_factory=dict)
    """Folders of frames that are not made: shrec, kinect."""
    marks: Path = MARKS

    def climb(self, row: str, seed: int, again: bool = False, rescore: bool = False) -> bool:
        """Run a row and all that it needs and that is not there yet; False where the row was finished before.

        Args:
            row: its name.
            seed: its seed.
            again: run it anew although it is finished.
            rescore: measure it anew although it is finished; only tests that it lacks are run.

        Raises:
            UserError: there is no such row, or a command failed: what it did is kept, and gone on with the next time.
        """
        if row not in self.course.rows:
            raise UserError(f"There is no row '{row}': choose {', '.join(self.course.rows)}.")
        if finished(read_lines(self.results), row, seed) and not (again or rescore):
            sys.stdout.write(f"{row}, seed {seed}: finished before\n")
            return False
        if again:
            for name in self._runs_of(row):
                shutil.rmtree(self._place(name, seed), ignore_errors=True)
        for name, its_seed in self.steps(row, seed):
            if self.course.named(name).frames in ("", *self.roots):
                self.run(name, its_seed)
        line = line_of(row, seed, self._measured(row, seed), self._place(row, seed), self.command(row, seed))
        lines = read_lines(self.results)  # again: another ladder may have finished rows meanwhile
        before = [other for other in lines if (other["row"], other["seed"]) == (row, seed)]
        if before and not again:
            line["commit"] = before[0]["commit"]  # that of the run
        lines = [other for other in lines if other not in before] + [line]
        write_text(self.results, "".join(f"{json.dumps(line)}\n" for line in lines))
        self._keep_weights(row, seed)
        self.sheet.write(self.document, lines)
        return True

    def steps(self, row: str, seed: int) -> list[tuple[str, int]]:
        """(name, seed) of every run that leads to a row and to what is said about it, each before what needs it."""
        return list(dict.fromkeys(step for name in self._runs_of(row) for step in self.course.chain(name, seed)))

    def _runs_of(self, row: str) -> list[str]:
        """The row's own runs."""
        return [row, *(name for name in (on_kinect(row),) if name in self.course.runs)]

    def command(self, name: str, seed: int) -> str:
        """The command of a run, from the start, as one types it; folders of frames in capitals."""
        return shlex.join(["python", "train_render.py", *self.course.words(self.runs, name, seed, self.more)])

    def run(self, name: str, seed: int) -> None:
        """Run one command, or go on with it, unless its results are there.

        Raises:
            UserError: it failed.
        """
        place = self._place(name, seed)
        if _is_finished(place):
            return
        typed = self.course.words(self.runs, name, seed, self.more, self.roots)
        if (place / "last.pt").is_file():
            typed.append("--resume")
        else:
            shutil.rmtree(place, ignore_errors=True)  # what a run leaves that stopped before its first checkpoint
        sys.stdout.write(f"{time.strftime('%H:%M')} {shlex.join(['python', 'train_render.py', *typed])}\n")
        sys.stdout.flush()
        done = subprocess.run([sys.executable, "train_render.py", *typed], cwd=ROOT)
        if done.returncode != 0 or not _is_finished(place):
            raise UserError(f"The run in {place} stopped (exit code {done.returncode}): run the ladder again to go on.")

    def kept(self, row: str, seed: int) -> Path:
        """Weights of a finished row, in half precision."""
        return ROOT / self.runs / self.course.named(row).place / "weights" / f"{row}-{seed}.safetensors"

    def _place(self, name: str, seed: int) -> Path:
        return ROOT / self.course.folder(self.runs, name, seed)

    def _measured(self, row: str, seed: int) -> Line:
        if self.course is not REAL:
            return labelled_measures(self._place(row, seed), self.course.rows[row])
        places = {"shrec": self._place(row, seed), "kinect": self._place(on_kinect(row), seed)}
        return unlabelled_measures({name: place for name, place in places.items() if _is_finished(place)}, self.marks)

    def _keep_weights(self, row: str, seed: int) -> None:
        from util.checkpoint import read_network, save_weights  # torch takes seconds to import

        run = self.course.weights_of(row)
        if run is not None:
            checkpoint = read_network(self._place(run, seed) / "last.safetensors")
            save_weights(self.kept(row, seed), checkpoint.state, checkpoint.config, half=True)

    def ship(self) -> None:
        """Copy the weights that --check tests to where it looks for them.

        Raises:
            UserError: a row is not finished.
        """
        for row, target in SHIPPED.values():
            source = self.kept(row, 0)
            if not source.is_file():
                raise UserError(f"{source} is absent: run --rows {row} first.")
            for suffix in (".safetensors", ".json"):
                shutil.copyfile(source.with_suffix(suffix), target.with_suffix(suffix))


def _is_finished(place: Path) -> bool:
    """Whether a run came to its end: until then its results hold at most the scores of its start."""
    file = place / "results.json"
    return file.is_file() and bool(set(read_json(file)) - {"before"})


def check() -> dict[str, float]:
    """Mean joint error of the better branch of each of the shipped weights, on the test frames.

    Raises:
        UserError: weights are absent.
    """
    for _, path in SHIPPED.values():
        if not path.is_file():
            raise UserError(f"{path} is absent: run the rows of the ladder, then bench/ladder.py --ship.")
    from config import EXPERIMENTS
    from training.labelled import frame_errors
    from training.setup import make_fabric, make_network
    from training.sources import load_frames

    experiment = EXPERIMENTS["ladder-self"]
    store, fabric = load_frames(experiment, "test"), make_fabric(experiment)
    found: dict[str, float] = {}
    for name, (row, path) in SHIPPED.items():
        network, _ = make_network(experiment, fabric, path)
        errors = {branch: error.mean_mm for branch, error in frame_errors(network.eval(), store).items()}
        listed = ", ".join(f"{branch} {mm:.2f} mm" for branch, mm in errors.items())
        sys.stdout.write(f"{ROWS[row].about}: {listed}\n")
        found[name] = round(min(errors.values()), 3)
    return found


def main(line: Sequence[str]) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python bench/ladder.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--on", choices=list(RESULTS), default="benchmark", help="which ladder (benchmark)")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="run these rows, in this order; 'all' for every one")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="with these seeds (0)")
    parser.add_argument("--again", action="store_true", help="run rows that are finished once more")
    parser.add_argument("--rescore", action="store_true", help="measure rows that are finished once more")
    parser.add_argument("--list", action="store_true", help="print rows, whether they are finished, and their commands")
    parser.add_argument("--check", action="store_true", help="test the shipped weights; the last line is JSON")
    parser.add_argument("--ship", action="store_true", help="copy weights of finished rows to where --check looks")
    parser.add_argument("--table", action="store_true", help="write the ladder's tables of docs/benchmark.md once more")
    parser.add_argument("--shrec", type=Path, metavar="DIR", help="real: SHREC'17")
    parser.add_argument("--kinect", type=Path, metavar="DIR", help="real: Kinect V2 frames, which are only tested on")
    parser.add_argument("--marks", type=Path, default=MARKS, metavar="DIR", help="real: finger tips marked by eye")
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="run folders, from the root")
    parser.add_argument("--results", type=Path, metavar="FILE", help="lines of finished rows")
    parser.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE", help="where the table goes")
    parser.add_argument("--more", type=shlex.split, default=[], metavar="WORDS", help="words for every command, quoted")
    asked = parser.parse_args(line)
    if not (asked.rows or asked.list or asked.check or asked.ship or asked.table):
        raise UserError("Nothing is asked for: see python bench/ladder.py --help.")
    if asked.on == "real" and (asked.check or asked.ship):
        raise UserError("--check and --ship are about the benchmark: leave --on real out.")
    ladder = _ladder(asked)
    rows = list(ladder.course.rows) if asked.rows == ["all"] else asked.rows or []
    for row in rows:
        ladder.course.named(row)  # a misspelt name is told before hours of the others
    for seed in asked.seeds if rows else []:
        for row in rows:
            ladder.climb(row, seed, asked.again, asked.rescore)
    if asked.list:
        _list(ladder, asked.seeds)
    if asked.table:
        ladder.sheet.write(ladder.document, read_lines(ladder.results))
    if asked.ship:
        ladder.ship()
    if asked.check:
        found = check()
        sys.stdout.write(f"{json.dumps(found)}\n")


def _ladder(asked: argparse.Namespace) -> Ladder:
    """The ladder that a command line means.

    Raises:
        UserError: rows on real depth are asked for, and frames or marks are not there.
    """
    results = asked.results or RESULTS[asked.on]
    ladder = Ladder(asked.runs, results, asked.document, tuple(asked.more))
    if asked.on == "benchmark":
        return ladder
    roots: dict[str, Path] = {name: path for name in ("shrec", "kinect") if (path := getattr(asked, name)) is not None}
    if asked.rows:
        if "shrec" not in roots:
            raise UserError("The ladder on real depth learns from SHREC'17: add --shrec DIR.")
        for name in roots:
            file = asked.marks / f"{name}.csv"
            if not file.is_file():
                raise UserError(f"{file} is missing: point --marks at the folder of finger tips marked by eye.")
        if "kinect" in roots:
            roots["kinect"] = frames_folder(roots["kinect"], ROOT / asked.runs / PLACE / "kinect-frames")
    return replace(ladder, course=REAL, sheet=REAL_SHEET, roots=roots, marks=asked.marks)


def _list(ladder: Ladder, seeds: Sequence[int]) -> None:
    """Print rows, whether they are finished, and the commands that make them."""
    lines = read_lines(ladder.results)
    for row, entry in ladder.course.rows.items():
        done = [str(seed) for seed in seeds if finished(lines, row, seed)]
        state = f"finished with seed {', '.join(done)}" if done else "to do"
        commands = [ladder.command(name, seed) for name, seed in ladder.steps(row, seeds[0])]
        sys.stdout.write(f"{row}: {entry.about} ({state})\n" + "".join(f"  {c}\n" for c in commands))


if __name__ == "__main__":
    sys.exit(run_entry(main))
