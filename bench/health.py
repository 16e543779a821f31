"""Whether long runs stay healthy: memory, open files and child processes of each phase over many steps, and after it.

    python bench/health.py [--steps N] [--phases NAME ...] [--plot FILE.png|.pdf|.svg] [--json]

Real runs on tiny settings, which need no data, each phase in a process of its own; the network is small, so that what
grows shows beside it. Memory counts as flat where its median over the last quarter of the steps lies less than
`--growth` MiB above that over the second quarter: the first one still fills caches. Pre-training draws its hands in a
worker process, which has to be gone after the run, as have all files that it opened.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.sections import Replacements  # noqa: E402
from bench.timing import table  # noqa: E402
from config import EXPERIMENTS, Experiment, OptimConfig  # noqa: E402
from util.cli import parse_settings, run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402
from util.plot import check_figure_path, write_lines_figure  # noqa: E402

SAMPLES = 200
"""Looks at a process, spread over its steps."""
CHECKS = 10
"""Checks of a run: held-out scores, pictures, checkpoints."""
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Settings:
    """What is watched."""

    steps: int = 2000
    """Steps of each phase."""
    phases: tuple[str, ...] = ("pretrain", "train", "labelled", "fitted", "transfer")
    """Which phases."""
    growth: float = 20.0
    """Growth of memory, MiB, that is none."""
    plot: Path | None = None
    """Write a figure of it."""
    json: bool = False
    """End with one line of JSON."""


@dataclass
class Health:
    """One phase, look by look; the last entries of `files` and `children` are after the run."""

    phase: str
    steps: list[int] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    """Resident memory of the process."""
    files: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    files_before: int = 0
    children_before: int = 0
    files_after: int = 0
    children_after: int = 0

    @property
    def growth_mib(self) -> float:
        """From the second quarter to the last one, medians."""
        n = len(self.memory_mib)
        return statistics.median(self.memory_mib[3 * n // 4 :]) - statistics.median(self.memory_mib[n // 4 : n // 2])

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "phase": self.phase,
            "steps": self.steps[-1],
            "memory_mib": round(self.memory_mib[-1], 1),
            "growth_mib": round(self.growth_mib, 2),
            "files": [self.files_before, max(self.files), self.files_after],
            "children": [self.children_before, max(self.children), self.children_after],
        }

    def released(self) -> bool:
        """Whether all files and processes of the run are gone."""
        return self.files_after <= self.files_before and self.children_after <= self.children_before


def experiment_of(phase: str, steps: int) -> Experiment:
    """A phase on tiny settings. Raises UserError when there is no such phase."""
    smoke = replace(EXPERIMENTS["smoke"], device="cpu", first=None)
    check = max(1, steps // CHECKS)
    optim: OptimConfig = replace(smoke.optim, steps=steps, check_every=check, log_every=max(1, check // 5))
    smoke = replace(smoke, optim=optim)
    fitted = replace(smoke.fitted, frames=8, steps=2, surface_mm=1e3, iou=0.0)
    known = {
        "pretrain": replace(smoke, phase="pretrain", optim=replace(optim, workers=1)),
        "train": smoke,
        "labelled": replace(smoke, source="labelled"),
        "fitted": replace(smoke, source="fitted", fitted=fitted),
        "transfer": replace(smoke, phase="transfer"),
    }
    if phase not in known:
        raise UserError(f"There is no phase {phase}: choose {', '.join(known)}.")
    return known[phase]


def watch(phase: str, steps: int) -> dict[str, Any]:
    """Run a phase in this process and look at it after every few steps; the fields of a `Health`."""
    from training.loop import Loop
    from training.run import run
    from training.transfer_loop import TransferLoop

    health = Health(phase)
    every = max(1, steps // SAMPLES)

    def watched(update: Callable) -> Callable:
        def call(loop: Any, step: int, losses: Any) -> Any:
            done = update(loop, step, losses)
            if (step + 1) % every == 0:
                health.steps.append(step + 1)
                health.memory_mib.append(resident_mib())
                health.files.append(open_files())
                health.children.append(len(children()))
            return done

        return call

    with tempfile.TemporaryDirectory(prefix="health-") as folder, Replacements() as places:
        for owner in (Loop, TransferLoop):
            places.method(owner, "_update", watched)
        run(experiment_of(phase, 1), Path(folder) / "warm-up")  # what is loaded once and kept is not a run's
        for own in (health.steps, health.memory_mib, health.files, health.children):
            own.clear()
        health.files_before, health.children_before = open_files(), len(children())
        run(experiment_of(phase, steps), Path(folder) / "run")
        health.files_after, health.children_after = open_files(), len(children())
    return asdict(health)


def resident_mib() -> float:
    """Memory of this process that is in the machine's."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_MIB


def open_files() -> int:
    """Files, pipes and sockets that this process holds open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (names alone: a Path would be looked up)


def children() -> list[int]:
    """Processes that this one has started and that still are."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(number) for file in tasks for number in file.read_text(encoding="ascii").split()]


def main(words: Sequence[str]) -> int:
    """Watch each phase, print a table; 1 where one is not healthy. `--json` adds a line of JSON at the end."""
    about = "Watch memory, open files and child processes of each phase over many steps."
    settings = parse_settings(Settings, Settings(), words, "python bench/health.py", about)
    if settings.steps < 8:
        raise UserError(f"--steps {settings.steps} are too few to see anything: give at least 8.")
    if not Path("/proc/self/statm").is_file():
        raise UserError("This system has no /proc to read memory from: run it on Linux.")
    if settings.plot is not None:
        check_figure_path(settings.plot)
    for phase in settings.phases:
        experiment_of(phase, 1)
    found = []
    for phase in settings.phases:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found.append(Health(**pool.submit(watch, phase, settings.steps).result()))
    rows = [
        (
            *(h.phase, h.steps[-1], f"{h.memory_mib[-1]:.0f}", f"{h.growth_mib:+.1f}"),
            *(f"{h.files_before} / {max(h.files)} / {h.files_after}",),
            *(f"{h.children_before} / {max(h.children)} / {h.children_after}",),
        )
        for h in found
    ]
    head = ("", "steps", "memory MiB", "growth MiB", "files before / most / after", "children before / most / after")
    sys.stdout.write(table(head, rows) + "\n")
    if settings.plot is not None:
        lines = {h.phase: (h.steps, h.memory_mib) for h in found}
        counts = {h.phase: (h.steps, [a + b for a, b in zip(h.files, h.children, strict=True)]) for h in found}
        panels = {"resident memory, MiB": lines, "open files and child processes": counts}
        write_lines_figure(settings.plot, panels, "step")
    healthy = all(h.released() and h.growth_mib < settings.growth for h in found)
    if settings.json:
        sys.stdout.write(json.dumps({"healthy": healthy, "phases": [h.plain() for h in found]}) + "\n")
    return int(not healthy)


if __name__ == "__main__":
    sys.exit(run_entry(main))
