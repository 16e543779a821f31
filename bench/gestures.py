"""What better poses are worth to recognisers of gestures: SHREC'17, held-out subjects, one table (docs/gestures.md).

Each source of poses is a network that learned without labels; those that saw real frames learned, fold by fold, from
the subjects that the fold's recognisers learn from and are selected on. What is there already is not done again.

python bench/gestures.py --shrec DIR [--sources NAME ...] [--recognisers NAME ...] [--folds 0 1 2] [--seeds 0 1 2]
"""

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.ladder_real import SHIPPED_FITTED, SHIPPED_SELF  # noqa: E402
from bench.ladder_table import Line, read_lines, write_between  # noqa: E402
from config import WEIGHTS  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402
from util.files import read_json, write_text  # noqa: E402

RUNS = Path("runs") / "gestures"
"""Run folders and poses, from the root."""
RESULTS = ROOT / "bench" / "results" / "gestures.jsonl"
"""One line a trained recogniser."""
DOCUMENT = ROOT / "docs" / "gestures.md"
MARKERS = "<!-- gestures: begin -->", "<!-- gestures: end -->"
FOLDS = 5
CLASSES = (14, 28)


@dataclass(frozen=True)
class Source:
    """Where poses come from."""

    about: str
    start: Path
    """Weights that come with the project."""
    words: tuple[str, ...] = ()
    """How `train_render.py shrec-train` goes on from them, on a fold's training subjects; empty: it does not."""
    refine: int = 0
    """Steps of optimisation of each hand; 0: the pixel branch as it is."""
    like: str = ""
    """The source with the same network."""


@dataclass(frozen=True)
class Recogniser:
    """What learns from poses, and for how long: the same for all sources."""

    title: str
    published: str
    """Accuracies on SHREC'17's own test list, 14 / 28 classes, %."""
    steps: int
    words: tuple[str, ...] = ()
    """What differs from its experiment."""


RENDERED, SENSOR = WEIGHTS / "benchmark-synthetic.safetensors", WEIGHTS / "sensor.safetensors"
SOURCES = {
    "rendered": Source("rendered hands, clean", RENDERED),
    "rendered-fitted": Source("the same, self-supervised", RENDERED, SHIPPED_FITTED),
    "sensor": Source("rendered hands, simulated sensors", SENSOR),
    "sensor-self": Source("the same, self-supervised (DSF)", SENSOR, SHIPPED_SELF),
    "sensor-fitted": Source("the same, self-supervised (fitted hands)", SENSOR, SHIPPED_FITTED),
    "sensor-fitted-refined": Source(
        "the same, and each hand refined", SENSOR, SHIPPED_FITTED, refine=10, like="sensor-fitted"
    ),
}
RECOGNISERS = {
    "dg-sta": Recogniser("DG-STA", "94.4 / 90.7", 800),
    "res-tcn": Recogniser("Res-TCN", "91.1 / 87.3", 1000),
    "sta-res-tcn": Recogniser("STA-Res-TCN", "93.6 / 90.7", 600),
    "st-gcn": Recogniser("ST-GCN", "92.7 / 87.7", 150, ("--recogniser.frames", "16")),
}
"""By the name of train_gesture.py's experiment."""
PAIRS = (
    ("rendered", "rendered-fitted"),
    ("rendered", "sensor-fitted"),
    ("sensor", "sensor-self"),
    ("sensor", "sensor-fitted"),
    ("sensor-fitted", "sensor-fitted-refined"),
)
"""Sources that are compared."""
KEYS = ("source", "recogniser", "classes", "fold", "seed")
"""What tells a trained recogniser from others."""


@dataclass(frozen=True)
class Table:
    """The experiment: where it runs and what it leaves."""

    shrec: Path
    runs: Path = ROOT / RUNS
    results: Path = RESULTS
    document: Path = DOCUMENT
    steps: int | None = None
    """Of each recogniser; None: its own."""
    more: tuple[str, ...] = ()
    """Further words of every command that trains a pose network."""

    def weights(self, name: str, fold: int) -> Path:
        """The pose network of a fold, which is trained where it is not there yet.

        Raises:
            UserError: it failed.
        """
        source = SOURCES[name]
        if not source.words:
            return source.start
        from bench.gesture_poses import shrec_subjects

        held_out = shrec_subjects(self.shrec)[fold::FOLDS]
        place = self.runs / (source.like or name) / f"fold-{fold}"
        words = ["shrec-train", *source.words, "--load-model", str(source.start), "--data.root", str(self.shrec)]
        words += ["--data.test-subjects", *map(str, held_out), "--seed", "0", "--run-dir", str(place), *self.more]
        _finish("train_render.py", words, place, lambda results: "after" in results)
        return place / "last.safetensors"

    def poses(self, name: str, fold: int) -> Path:
        """Poses of all frames by a fold's network.

        Raises:
            UserError: frames or weights cannot be read.
        """
        from bench.gesture_poses import shrec_frames, write_poses

        source = SOURCES[name]
        weights = self.weights(name, fold)
        folder = self.runs / "poses" / (f"{name}-{fold}" if source.words else name)
        whole = folder / "all-written"
        if not whole.is_file():
            write_poses(self.shrec, shrec_frames(self.shrec), weights, folder, source.refine)
            write_text(whole, f"{weights}\n")
        return folder

    def recognise(self, name: str, recogniser: str, classes: int, fold: int, seed: int) -> bool:
        """Train and test one recogniser; False where that was done before.

        Raises:
            UserError: it failed.
        """
        key = dict(zip(KEYS, (name, recogniser, classes, fold, seed), strict=True))
        if any(line.items() >= key.items() for line in read_lines(self.results, KEYS)):
            return False
        place = self.runs / "recognisers" / "-".join(map(str, key.values()))
        words = [recogniser, "--data.root", str(self.shrec), "--data.skeletons", str(self.poses(name, fold))]
        words += ["--data.classes", str(classes), "--data.fold", str(fold), "--seed", str(seed)]
        steps = self.steps or RECOGNISERS[recogniser].steps
        words += ["--optim.steps", str(steps), "--optim.check-every", str(max(1, steps // 6))]
        words += RECOGNISERS[recogniser].words
        results = _finish("train_gesture.py", [*words, "--run-dir", str(place)], place, lambda results: True)
        line = key | {
            "accuracy": round(results["test"]["accuracy"], 5),
            "validation": round(results["selected"]["accuracy"], 5),
            "tested": results["sequences"]["tested"],
            "steps": results["steps"],
        }
        lines = [*read_lines(self.results, KEYS), line]  # again: another process may have written meanwhile
        write_text(self.results, "".join(f"{json.dumps(line)}\n" for line in lines))
        write_between(self.document, MARKERS, tables(lines))
        return True


def _finish(program: str, words: list[str], place: Path, whole: Callable[[Line], bool]) -> Line:
    """Run a command, or go on with it, unless its results are there; returns them.

    Raises:
        UserError: it failed.
    """
    file = place / "results.json"
    if not (file.is_file() and whole(read_json(file))):
        if (place / "last.pt").is_file():
            words = [*words, "--resume"]
        else:
            shutil.rmtree(place, ignore_errors=True)  # what a run leaves that stopped before its first checkpoint
        sys.stdout.write(f"{shlex.join(['python', program, *words])}\n")
        sys.stdout.flush()
        done = subprocess.run([sys.executable, program, *words], cwd=ROOT)
        if done.returncode != 0 or not file.is_file() or not whole(read_json(file)):
            raise UserError(f"The run in {place} stopped (exit code {done.returncode}): run the same again to go on.")
    return read_json(file)


def tables(lines: Sequence[Line]) -> str:
    """Accuracy by source and recogniser, and what self-supervision adds, pair by pair."""
    text = ["| recogniser | poses | 14 classes, % | 28 classes, % | folds x seeds | published, own skeletons |"]
    text.append("| --- | --- | --- | --- | --- | --- |")
    for recogniser, known in RECOGNISERS.items():
        for name, source in SOURCES.items():
            found = {classes: _accuracies(lines, name, recogniser, classes) for classes in CLASSES}
            if any(found.values()):
                cells = [_mean_and_spread([100 * value for value in own.values()]) for own in found.values()]
                runs = " / ".join(_counted(list(own)) for own in found.values())
                text.append(f"| {known.title} | {source.about} | {' | '.join(cells)} | {runs} | {known.published} |")
    pairs = _gains(lines)
    return "\n".join(text) + ("\n\nGain, pair by pair (same fold, seed, frames, budget):\n\n" + pairs if pairs else "")


def _gains(lines: Sequence[Line]) -> str:
    rows = []
    for recogniser, known in RECOGNISERS.items():
        for before, after in PAIRS:
            cells = []
            for classes in CLASSES:
                first, second = (_accuracies(lines, name, recogniser, classes) for name in (before, after))
                cells.append(
                    _mean_and_spread([100 * (second[key] - first[key]) for key in first if key in second], "+")
                )
            if any(cell != "-" for cell in cells):
                rows.append(f"| {known.title} | {before} to {after} | {' | '.join(cells)} |")
    head = ["| recogniser | poses | 14 classes, points | 28 classes, points |", "| --- | --- | --- | --- |"]
    return "\n".join(head + rows) if rows else ""


def _accuracies(lines: Sequence[Line], source: str, recogniser: str, classes: int) -> dict[tuple[int, int], float]:
    """(fold, seed) -> accuracy."""
    key = {"source": source, "recogniser": recogniser, "classes": classes}
    chosen = [line for line in lines if line.items() >= key.items()]
    return {(line["fold"], line["seed"]): line["accuracy"] for line in chosen}


def _mean_and_spread(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{spread}"


def _counted(keys: Sequence[tuple[int, int]]) -> str:
    if not keys:
        return "-"
    folds, seeds = ({key[k] for key in keys} for k in (0, 1))
    return f"{len(folds)} x {len(seeds)}" if len(keys) == len(folds) * len(seeds) else f"{len(keys)} runs"


def main(words: Sequence[str]) -> None:
    """Do what is left of the experiment."""
    parser = argparse.ArgumentParser(prog="python bench/gestures.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shrec", type=Path, metavar="DIR", help="SHREC'17")
    parser.add_argument("--sources", nargs="+", choices=list(SOURCES), default=list(SOURCES), help="of poses (all)")
    parser.add_argument("--recognisers", nargs="+", choices=list(RECOGNISERS), default=list(RECOGNISERS), help="(all)")
    parser.add_argument("--classes", nargs="+", type=int, choices=CLASSES, default=list(CLASSES), help="(both)")
    parser.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS), default=[0, 1, 2], help="(0 1 2)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(0 1 2)")
    parser.add_argument("--steps", type=int, metavar="N", help="of every recogniser (its own)")
    parser.add_argument("--runs", type=Path, default=Table.runs, metavar="DIR", help="run folders and poses")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="lines of trained recognisers")
    parser.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE", help="where the table goes")
    parser.add_argument("--more", type=shlex.split, default=[], metavar="WORDS", help="words for pose networks, quoted")
    parser.add_argument("--poses", action="store_true", help="only make the poses")
    parser.add_argument("--table", action="store_true", help="only write the table once more")
    asked = parser.parse_args(words)
    if asked.table:
        write_between(asked.document, MARKERS, tables(read_lines(asked.results, KEYS)))
        return
    if asked.shrec is None or not asked.shrec.is_dir():
        raise UserError(f"--shrec {asked.shrec or ''} is no folder: point it at the folder of SHREC'17.")
    table = Table(
        asked.shrec.resolve(), asked.runs.resolve(), asked.results, asked.document, asked.steps, tuple(asked.more)
    )
    for fold in asked.folds:
        for source in asked.sources:
            table.poses(source, fold)
    if asked.poses:
        return
    for seed in asked.seeds:
        for recogniser in asked.recognisers:
            for classes in asked.classes:
                for fold in asked.folds:
                    for source in asked.sources:
                        table.recognise(source, recogniser, classes, fold, seed)


if __name__ == "__main__":
    sys.exit(run_entry(main))
