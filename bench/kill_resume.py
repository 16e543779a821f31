"""Kills training at random moments, goes on with it, and compares its weights with those of an undisturbed run.

    python bench/kill_resume.py [--kills N] [--phases NAME ...] [--seed S] [--json]

Real runs of `train_render.py` on tiny settings, in processes of their own, which need no data. The kills are dealt out
to the phases in turn. A kill is SIGKILL, either at a random time between the start of a process and the time that an
undisturbed one takes, or, every second one, while a randomly chosen file is being written (checkpoints, results,
pictures, prepared frames). A killed run goes on with --resume, may be killed again, and in the end is left to finish.

Each kill that hit a running process counts; it counts as identical when the run that it hit ended with the weights and
training state of the undisturbed one, bit for bit, and with the results and predicted joints of the same. The exit code
is 0 where all are.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.timing import table  # noqa: E402
from util.checkpoint import read_checkpoint  # noqa: E402
from util.cli import parse_settings, run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402
from util.files import PART, read_json  # noqa: E402
from util.training_state import load_training_state  # noqa: E402

STEPS = ["--optim.steps", "9", "--optim.check-every", "3", "--optim.log-every", "3"]
ALONE = ["first:None"]
"""Without pre-training first, from weights as they are drawn; comes last."""
PHASES: dict[str, list[str]] = {
    "pretrain": [*STEPS, "--phase", "pretrain", "--optim.first-stage-steps", "4"],
    "pretrain-workers": [*STEPS, "--phase", "pretrain", "--network.stages", "1", "--optim.workers", "1"],
    "train": STEPS,
    "train-one-stage": [*STEPS, "--network.stages", "1", "--unlabelled.teacher-pixel", "0",
                        "--unlabelled.teacher-surface", "0", *ALONE],
    "labelled": [*STEPS, "--source", "labelled", "--data.name", "benchmark", *ALONE],
    "fitted": [*STEPS, "--source", "fitted", "--fitted.frames", "8", "--fitted.steps", "2", "--fitted.surface-mm",
               "1000", "--fitted.iou", "0", *ALONE],
    "transfer": [*STEPS, "--phase", "transfer"],
    "test": [*STEPS, "--phase", "test", "--load-model", str(ROOT / "model" / "weights" / "compact.safetensors"),
             "--demo.test-frames", "200", "--demo.train-frames", "8"],
}  # fmt: skip
"""What is run, as words of the command line after the experiment `smoke`."""
IGNORED = ("seconds",)
"""Of a training state and of results: what a clock says."""
RESULTS = ("results.json", "predictions/*")
"""Files that say what was measured."""
POLL_S = 5e-4
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Settings:
    """What is killed."""

    kills: int = 20
    """Kills that have to hit a running process."""
    phases: tuple[str, ...] = tuple(PHASES)
    """Which phases are disturbed, in turn."""
    seed: int = 0
    """Seed of the moments."""
    json: bool = False
    """End with one line of JSON."""


@dataclass(frozen=True)
class Moment:
    """When a process is killed: so many seconds after its start, or when so many files have begun to be written."""

    seconds: float | None = None
    writings: int | None = None


@dataclass
class Life:
    """What became of one process."""

    killed: bool
    code: int
    seconds: float
    writings: int
    said: str


@dataclass
class Tally:
    """Kills of one phase."""

    name: str
    kills: int = 0
    in_writing: int = 0
    runs: int = 0
    identical: int = 0
    differences: list[str] = field(default_factory=list)


def live(phase: str, folder: Path, resume: bool, moment: Moment | None = None) -> Life:
    """Run the command in a process of its own, and kill it at the moment, if it lives that long.

    Raises UserError when it neither ends nor is killed within five minutes.
    """
    words = ["--resume"] if resume else ["smoke", "--device", "cpu", "--data.cache", str(folder / "cache")]
    words += ["--run-dir", str(folder / "run"), *([] if resume else PHASES[phase])]
    command = [sys.executable, "train_render.py", *words]
    log = folder / "log.txt"
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    with log.open("w") as out:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                seconds = time.monotonic() - start
                seen.update(_being_written(folder))
                if moment is not None and _is_now(moment, seconds, len(seen)):
                    process.send_signal(signal.SIGKILL)
                    break
                if seconds > PATIENCE_S:
                    raise UserError(f"{' '.join(command)} does not end: see {log}.")
                time.sleep(POLL_S)
            code = process.wait()
        finally:
            process.kill()
    said = log.read_text(errors="replace").replace("\r", "\n").strip()
    return Life(code == -signal.SIGKILL, code, time.monotonic() - start, len(seen), said)


def disturbed(phase: str, folder: Path, most: int, whole: Life, draw: random.Random, tally: Tally) -> int:
    """One run that is killed up to `most` times and goes on each time, until it is done; its kills.

    Raises UserError when it cannot go on.
    """
    kills, resume = 0, False
    while True:
        moment = _drawn(draw, whole) if kills < most else None
        life = live(phase, folder, resume, moment)
        if life.killed:
            kills += 1
            tally.in_writing += moment is not None and moment.writings is not None
            resume = True
        elif life.code == 0:
            return kills
        elif resume and "holds no run to resume" in life.said:
            resume = False  # it was killed before it had written what it is
        else:
            raise UserError(f"{phase}, killed {kills} times, cannot go on: {life.said[-500:]}")


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same, bit for bit, in the weights, training states and results of two run folders."""
    found: list[str] = []
    files = {path.relative_to(one) for path in one.rglob("*.safetensors")}
    files |= {path.relative_to(one) for path in one.rglob("last.pt")}
    for file in sorted(files):
        if not (other / file).is_file():
            found.append(f"{file} is absent")
            continue
        first, second = (dict(_leaves(_content(folder / file))) for folder in (one, other))
        names = sorted(first.keys() | second.keys())
        found += [f"{file}: {name}" for name in names if not _same(first.get(name), second.get(name))]
    told = {path.relative_to(folder) for folder in (one, other) for kind in RESULTS for path in folder.rglob(kind)}
    return found + [str(file) for file in sorted(told) if _told(one / file) != _told(other / file)]


def main(words: Sequence[str]) -> int:
    """Kill, go on, compare; 1 where anything differs. `--json` adds a line with kills and identical at the end."""
    about = "Kill training at random moments, resume it, compare its weights with an undisturbed run's."
    settings = parse_settings(Settings, Settings(), words, "python bench/kill_resume.py", about)
    if unknown := sorted(set(settings.phases) - set(PHASES)):
        raise UserError(f"There is no phase {', '.join(unknown)}: choose {', '.join(PHASES)}.")
    if settings.kills < 1 or not settings.phases:
        raise UserError("Nothing is to be killed: give --kills at least 1 and --phases at least one.")
    draw, tallies = random.Random(settings.seed), []
    shares = [len(range(k, settings.kills, len(settings.phases))) for k in range(len(settings.phases))]
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as folder:
        for phase, share in zip(settings.phases, shares, strict=True):
            if share:
                tallies.append(_phase(phase, share, Path(folder) / phase, draw))
                sys.stderr.write(f"{_row(tallies[-1])}\n")
    head = ("", "runs", "kills", "while writing", "identical")
    rows = [(t.name, str(t.runs), str(t.kills), str(t.in_writing), str(t.identical)) for t in tallies]
    sys.stdout.write(table(head, rows) + "\n")
    for tally in tallies:
        sys.stdout.writelines(f"{tally.name}: {difference}\n" for difference in tally.differences[:10])
    kills, identical = (sum(getattr(tally, name) for tally in tallies) for name in ("kills", "identical"))
    if settings.json:
        sys.stdout.write(json.dumps({"kills": kills, "identical": identical}) + "\n")
    return int(identical < kills)


def _phase(phase: str, kills: int, folder: Path, draw: random.Random) -> Tally:
    tally = Tally(phase)
    whole = live(phase, folder / "whole", resume=False)
    if whole.code != 0:
        raise UserError(f"{phase} does not even run undisturbed: {whole.said[-500:]}")
    while tally.kills < kills:
        tally.runs += 1
        run = folder / f"run-{tally.runs}"
        hit = disturbed(phase, run, kills - tally.kills, whole, draw, tally)
        tally.kills += hit
        if found := differences(folder / "whole" / "run", run / "run"):
            tally.differences += found
        else:
            tally.identical += hit
    return tally


def _drawn(draw: random.Random, whole: Life) -> Moment:
    """Every second moment, on average, is one of writing."""
    seconds, writings = draw.uniform(0, whole.seconds), draw.randint(1, max(1, whole.writings))
    return Moment(seconds=seconds) if draw.random() < 0.5 else Moment(writings=writings)


def _is_now(moment: Moment, seconds: float, writings: int) -> bool:
    if moment.seconds is not None:
        return seconds >= moment.seconds
    return moment.writings is not None and writings >= moment.writings


def _being_written(folder: Path) -> Iterator[str]:
    """Files and folders that are not finished, anywhere in a folder."""
    for path, folders, files in os.walk(folder):
        yield from (f"{path}/{name}" for name in (*folders, *files) if name.startswith(".") and name.endswith(PART))


def _content(file: Path) -> Mapping[str, Any]:
    if file.suffix == ".pt":
        return {name: value for name, value in load_training_state(file).items() if name not in IGNORED}
    return read_checkpoint(file).state


def _told(file: Path) -> Any:
    """What a file of results says; None where it is absent."""
    if not file.is_file():
        return None
    if file.suffix != ".json":
        return file.read_bytes()
    return {name: value for name, value in read_json(file).items() if name not in IGNORED}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from _leaves(item, f"{name}/{key}")
    else:
        yield name, value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and bool(torch.equal(_bits(one), _bits(other)))
    return type(one) is type(other) and one == other


def _bits(tensor: Tensor) -> Tensor:
    """Its bytes: a NaN is equal to itself, and 0 is not -0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _row(tally: Tally) -> str:
    return f"{tally.name}: {tally.kills} kills in {tally.runs} runs, {tally.identical} identical"


if __name__ == "__main__":
    sys.exit(run_entry(main))
