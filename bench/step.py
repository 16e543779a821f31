"""Where a training step's time goes: `python bench/step.py [--json] [--experiment E]`.

Pre-training and self-supervised steps are those of training/, run by its own loop on the demo's frames (or those of the
experiment), for the compact and for the full network. Then: how rasteriser and surface distance scale.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from lightning_fabric import Fabric
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import render.rasterise
import render.surface
import training.loop
import training.pretrain
from bench.scaling import Scaled, scaled
from bench.sections import BACKWARD, FORWARD, Replacements, Stopwatch
from bench.timing import Watch, forget_peak, last_line, machine, peak_mib, table
from config import EXPERIMENTS, FULL, Experiment
from dataloader.rendered import RenderedHands
from dataloader.store import FrameStore
from model.network import DualBranchNetwork
from render.sampler import HandSampler
from training.loop import AveragedWeights, Loop
from training.parts import Part, Ready, StepLosses
from training.selfsupervise import self_supervise
from training.setup import make_fabric, make_network, make_rendered
from training.sources import load_frames
from util.cli import run_entry
from util.errors import UserError
from util.run_folder import RunFolder

DATA, SAMPLER, RASTERISER, SURFACE, OPTIMISER, LOOP = "data", "sampler", "rasteriser", "surface", "optimiser", "loop"
CONVOLUTIONS, READING, LOSSES = "network: convolutions", "network: maps and hand", "other losses"
ORDER = (DATA, SAMPLER, CONVOLUTIONS, READING, RASTERISER, SURFACE, LOSSES, OPTIMISER, LOOP)
FRAMES = 512
"""Frames of the demo that are made; a step draws its crops from them."""
WARM_UP = 2


@dataclass(frozen=True)
class StepTimes:
    """What steps of one kind cost."""

    name: str
    images: int
    """Crops a step."""
    ms: list[float]
    """Each step."""
    sections: dict[str, float]
    """Mean milliseconds a step of each section, forward and backward apart where there are both."""
    peak_mib: float

    @property
    def mean_ms(self) -> float:
        """Mean milliseconds a step: hands are drawn for several steps at once, which a median would not see."""
        return statistics.fmean(self.ms)

    def of(self, section: str) -> float:
        """Mean milliseconds a step of a section, forward and backward."""
        return sum(self.sections.get(section + way, 0.0) for way in ("", FORWARD, BACKWARD))

    def share(self, *sections: str) -> float:
        """Share of the step that these sections take."""
        return sum(map(self.of, sections)) / max(sum(self.sections.values()), 1e-9)

    def plain(self) -> dict[str, object]:
        """For JSON."""
        shares = {section: round(self.share(section), 4) for section in ORDER}
        numbers = {"ms": self.mean_ms, "images_per_s": 1e3 * self.images / self.mean_ms, "peak_mib": self.peak_mib}
        whole = {"network_share": round(self.share(CONVOLUTIONS, READING), 4)}
        return {"name": self.name, **{k: round(v, 3) for k, v in numbers.items()}, **whole, "shares": shares}

    def lines(self) -> str:
        """A table for people."""
        rows = [
            (
                section,
                *(f"{self.sections[name]:.1f}" if (name := section + way) in self.sections else "" for way in WAYS),
                f"{self.of(section):.1f}",
                f"{100 * self.share(section):.1f} %",
            )
            for section in ORDER
        ]
        head = (
            f"{self.name}: {self.mean_ms:.0f} ms a step (mean of {len(self.ms)}), {self.images} images, "
            f"{1e3 * self.images / self.mean_ms:.1f} images/s, peak memory {self.peak_mib:.0f} MiB\n"
            f"network {100 * self.share(CONVOLUTIONS, READING):.1f} % (its convolutions "
            f"{100 * self.share(CONVOLUTIONS):.1f} %), data and sampler {100 * self.share(DATA, SAMPLER):.1f} %\n"
        )
        return head + table(("", "forward ms", "backward ms", "ms", "share"), rows)


WAYS = (FORWARD, BACKWARD)


class _Done(Exception):
    """Enough steps have been taken."""


class TimedLoop(Loop):
    """The loop of training, which stops after some steps and has charged their time to sections."""

    def __init__(
        self, stopwatch: Stopwatch, steps: int, warm_up: int, experiment: Experiment, fabric: Fabric,
        network: DualBranchNetwork, folder: RunFolder, resume: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(experiment, fabric, network, folder, resume)
        self.stopwatch, self.warm_up, self.last = stopwatch, warm_up, warm_up + steps
        self.starts: list[float] = []
        self.images, self.peak_mib, self.seconds_of = 0, 0.0, {}
        self.optimizer.step = stopwatch.wrapped(OPTIMISER, self.optimizer.step, backward=False)
        blocks: list[nn.Module] = [network.stem, *network.stages]
        blocks += [network.fusion] if len(network.stages) == 2 else []
        for block in blocks:
            block.forward = stopwatch.wrapped(CONVOLUTIONS, block.forward)

    def run(self, losses: StepLosses, images_per_step: int, judge: object = None, picture: object = None) -> None:
        """Take the steps, without scores and pictures."""
        self.images = images_per_step

        def timed(step: int, part: Part) -> Ready:
            if len(self.starts) == self.warm_up:
                self.stopwatch.reset()
                forget_peak()
            self.starts.append(time.perf_counter())
            if len(self.starts) > self.last:
                self.seconds_of, self.peak_mib = self.stopwatch.taken(), peak_mib()
                raise _Done
            ready = self.stopwatch.wrapped(LOSSES, losses, backward=False)(step, part)
            return replace(ready, terms=self.stopwatch.wrapped(LOSSES, ready.terms, backward=False))

        with self.stopwatch.section(LOOP), suppress(_Done):
            super().run(timed, images_per_step)

    def times(self, name: str) -> StepTimes:
        """What the steps after the warm-up cost."""
        starts = self.starts[self.warm_up :]
        ms = [1e3 * (later - sooner) for sooner, later in pairwise(starts)]
        sections = {section: 1e3 * seconds / len(ms) for section, seconds in self.seconds_of.items()}
        if LOSSES in sections:
            sections[LOSSES + FORWARD] = sections.pop(LOSSES)
        return StepTimes(name, self.images, ms, sections, self.peak_mib)


def measure(name: str, experiment: Experiment, steps: int, warm_up: int = WARM_UP) -> StepTimes:
    """Time steps of an experiment's phase (pretrain or train), instrumented from outside."""
    enough = max(experiment.optim.steps, warm_up + steps + 1)
    experiment = replace(experiment, optim=replace(experiment.optim, steps=enough))
    stopwatch = Stopwatch()
    make_loop = partial(TimedLoop, stopwatch, steps, warm_up)
    loops: list[TimedLoop] = []

    def remembered(*args, **kwargs) -> TimedLoop:
        loops.append(make_loop(*args, **kwargs))
        return loops[-1]

    with tempfile.TemporaryDirectory() as folder, _instrumented(stopwatch) as places:
        places.value(training.pretrain, "Loop", remembered)
        run_folder = RunFolder.open(Path(folder) / "run", experiment)
        if experiment.phase == "pretrain":
            training.pretrain.pretrain(experiment, run_folder, False, experiment.start)
        else:
            frames = load_frames(experiment, "train")
            fabric = make_fabric(experiment)
            network, layer = make_network(experiment, fabric, experiment.start)
            loop = remembered(experiment, fabric, network, run_folder)
            self_supervise(experiment, loop, layer, make_rendered(experiment), frames)
        return loops[-1].times(name)


def _instrumented(stopwatch: Stopwatch) -> Replacements:
    """Everything that training calls for the sections, wrapped wherever it is known by name."""
    places = Replacements()
    places.value(training.loop, "tqdm", partial(tqdm, disable=True))
    places.method(FrameStore, "batch", lambda f: stopwatch.wrapped(DATA, f, backward=False, whole=True))
    for owner, name in ((HandSampler, "sample"), (RenderedHands, "images")):
        places.method(owner, name, lambda f: stopwatch.wrapped(SAMPLER, f, backward=False, whole=True))
    places.method(DualBranchNetwork, "forward", lambda f: stopwatch.wrapped(READING, f))
    places.function(render.rasterise, "rasterise", lambda f: stopwatch.wrapped(RASTERISER, f))
    for name in ("surface_distance", "part_surface_distance"):
        places.function(render.surface, name, lambda f: stopwatch.wrapped(SURFACE, f))
    places.method(AveragedWeights, "update", lambda f: stopwatch.wrapped(OPTIMISER, f, backward=False))
    places.function(nn.utils.clip_grad, "clip_grad_norm_", lambda f: stopwatch.wrapped(OPTIMISER, f, backward=False))

    def backward(original: Callable) -> Callable:
        def call(*args, **kwargs) -> None:
            with stopwatch.section(LOSSES + BACKWARD):
                original(*args, **kwargs)

        return call

    places.method(Fabric, "backward", backward)
    return places


def cases(experiment: Experiment) -> dict[str, Experiment]:
    """What is measured: pre-training as the experiments that do it, self-supervision as the one given."""
    if experiment.data.name == "demo":
        experiment = replace(experiment, demo=replace(experiment.demo, train_frames=FRAMES))
    experiment = replace(experiment, phase="train")
    compact = EXPERIMENTS["pretrain-compact"]
    pretrain = replace(compact, optim=replace(compact.optim, first_stage_steps=0, check_frames=1, final_frames=1))
    full = replace(pretrain, network=FULL, optim=replace(pretrain.optim, batch=32))
    return {
        "pretrain_compact": pretrain,
        "pretrain_full": full,
        "selfsupervised_compact": experiment,
        "selfsupervised_full": replace(experiment, network=FULL, start=None),
    }


def main(words: Sequence[str]) -> None:
    """Measure all cases and print their tables; `--json` adds the same as one line of JSON at the end."""
    parser = argparse.ArgumentParser(prog="python bench/step.py", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--experiment", default="demo", metavar="E", help="whose self-supervised step is measured")
    parser.add_argument("--root", type=Path, metavar="DIR", help="its data set's folder")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="cases to measure, all by default; and scaling")
    parser.add_argument("--steps", type=int, default=8, help="steps of the compact network that count")
    parser.add_argument("--full-steps", type=int, default=3, help="steps of the full network that count")
    options = parser.parse_args(words)
    if options.experiment not in EXPERIMENTS:
        raise UserError(f"There is no experiment '{options.experiment}': choose {', '.join(EXPERIMENTS)}.")
    experiment = EXPERIMENTS[options.experiment]
    if options.root is not None:
        experiment = replace(experiment, data=replace(experiment.data, root=options.root))
    known = cases(experiment)
    chosen = options.only or [*known, "scaling"]
    if unknown := sorted(set(chosen) - {*known, "scaling"}):
        raise UserError(f"There is no case {', '.join(unknown)}: choose {', '.join([*known, 'scaling'])}.")
    sys.stdout.write(machine() + "\n")
    rows: list[dict[str, object]] = []
    for name in chosen:
        with Watch() as watch:
            if name == "scaling":
                result: Scaled | StepTimes = scaled(EXPERIMENTS["pretrain-compact"])
            else:
                steps = options.full_steps if name.endswith("full") else options.steps
                result = measure(name, known[name], max(1, steps))
        sys.stdout.write("\n".join(filter(None, ["", result.lines(), watch.notice])) + "\n")
        rows.append(result.plain())
    if options.json:
        sys.stdout.write(last_line(rows) + "\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
