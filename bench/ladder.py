"""Climb the benchmark's ladder: run rows, write the table, test shipped weights (docs/benchmark.md).

python bench/ladder.py --list
python bench/ladder.py --rows synthetic cyclegan --seeds 0 1
python bench/ladder.py --check
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.ladder_rows import ROWS, chain, folder, named, words  # noqa: E402
from bench.ladder_table import finished, line_of, read_lines, write_table  # noqa: E402
from config import WEIGHTS  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402
from util.files import read_json, write_text  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "ladder.jsonl"
"""One line a finished row and seed."""
DOCUMENT = ROOT / "docs" / "benchmark.md"
"""Where the table goes."""
RUNS = Path("runs") / "ladder"
"""Run folders, from the root; weights of finished rows lie in its folder `weights`."""
SHIPPED = {
    "synthetic_only_mm": ("synthetic-2", WEIGHTS / "benchmark-synthetic.safetensors"),
    "final_mm": ("stage-2", WEIGHTS / "benchmark-final.safetensors"),
    "supervised_mm": ("supervised", WEIGHTS / "benchmark-supervised.safetensors"),
}
"""What --check reports -> the row that it is of, and where its weights are."""


@dataclass(frozen=True)
class Ladder:
    """Where rows are run and what they leave."""

    runs: Path = RUNS
    results: Path = RESULTS
    document: Path = DOCUMENT
    more: tuple[str, ...] = ()
    """Further words of every command."""

    def climb(self, row: str, seed: int, again: bool = False) -> bool:
        """Run a row and all that it needs and that is not there yet; False where the row was finished before.

        Raises:
            UserError: there is no such row, or a command failed: what it did is kept, and gone on with the next time.
        """
        if row not in ROWS:
            raise UserError(f"There is no row '{row}': choose {', '.join(ROWS)}.")
        lines = read_lines(self.results)
        if finished(lines, row, seed) and not again:
            sys.stdout.write(f"{row}, seed {seed}: finished before\n")
            return False
        if again:
            shutil.rmtree(ROOT / folder(self.runs, row, seed), ignore_errors=True)
        for name, its_seed in dict.fromkeys(chain(row, seed)):
            self.run(name, its_seed)
        place = ROOT / folder(self.runs, row, seed)
        lines = [line for line in lines if (line["row"], line["seed"]) != (row, seed)]
        lines.append(line_of(row, seed, ROWS[row], place, self.command(row, seed)))
        write_text(self.results, "".join(f"{json.dumps(line)}\n" for line in lines))
        self._keep_weights(row, seed)
        write_table(self.document, lines)
        return True

    def command(self, name: str, seed: int) -> str:
        """The command of a run, from the start, as one types it."""
        return shlex.join(["python", "train_render.py", *words(self.runs, name, seed, self.more)])

    def run(self, name: str, seed: int) -> None:
        """Run one command, or go on with it, unless its results are there.

        Raises:
            UserError: it failed.
        """
        place = ROOT / folder(self.runs, name, seed)
        if _is_finished(place):
            return
        typed = words(self.runs, name, seed, self.more)
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
        return ROOT / self.runs / "weights" / f"{row}-{seed}.safetensors"

    def _keep_weights(self, row: str, seed: int) -> None:
        from util.checkpoint import read_network, save_weights  # torch takes seconds to import

        run = named(row)
        tested = run.weights.get("--load-model") if "test" in run.words else row
        checkpoint = read_network(ROOT / folder(self.runs, tested or row, seed) / "last.safetensors")
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
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="run these rows, in this order; 'all' for every one")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="with these seeds (0)")
    parser.add_argument("--again", action="store_true", help="run rows that are finished once more")
    parser.add_argument("--list", action="store_true", help="print rows, whether they are finished, and their commands")
    parser.add_argument("--check", action="store_true", help="test the shipped weights; the last line is JSON")
    parser.add_argument("--ship", action="store_true", help="copy weights of finished rows to where --check looks")
    parser.add_argument("--table", action="store_true", help="write the table of docs/benchmark.md once more")
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="run folders, from the root")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="lines of finished rows")
    parser.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE", help="where the table goes")
    parser.add_argument("--more", type=shlex.split, default=[], metavar="WORDS", help="words for every command, quoted")
    asked = parser.parse_args(line)
    ladder = Ladder(asked.runs, asked.results, asked.document, tuple(asked.more))
    if not (asked.rows or asked.list or asked.check or asked.ship or asked.table):
        raise UserError("Nothing is asked for: see python bench/ladder.py --help.")
    rows = list(ROWS) if asked.rows == ["all"] else asked.rows or []
    for row in rows:
        named(row)  # a misspelt name is told before hours of the others
    for seed in asked.seeds if rows else []:
        for row in rows:
            ladder.climb(row, seed, asked.again)
    if asked.list:
        lines = read_lines(ladder.results)
        for row, entry in ROWS.items():
            done = [str(seed) for seed in asked.seeds if finished(lines, row, seed)]
            state = f"finished with seed {', '.join(done)}" if done else "to do"
            commands = [ladder.command(name, seed) for name, seed in dict.fromkeys(chain(row, asked.seeds[0]))]
            sys.stdout.write(f"{row}: {entry.about} ({state})\n" + "".join(f"  {c}\n" for c in commands))
    if asked.table:
        write_table(ladder.document, read_lines(ladder.results))
    if asked.ship:
        ladder.ship()
    if asked.check:
        found = check()
        sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
