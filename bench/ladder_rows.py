"""The rows of the ladder and the runs whose weights they share: what `bench/ladder.py` runs (docs/benchmark.md)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from util.errors import UserError


@dataclass(frozen=True)
class Run:
    """One command `python train_render.py EXPERIMENT WORDS`, with weights of other runs."""

    experiment: str
    """Its named experiment in config.py."""
    words: tuple[str, ...] = ()
    """What differs from that experiment."""
    weights: dict[str, str] = field(default_factory=dict)
    """Option -> name of the run whose weights it takes."""
    shared: bool = False
    """Whether all seeds share this run, of seed 0."""
    frames: Literal["", "shrec", "kinect"] = ""
    """Whose frames it reads from a folder; empty where they are made."""
    place: str = ""
    """Sub-folder in which it is kept."""


@dataclass(frozen=True)
class Row:
    """One row of the table: the run that ends in its scores."""

    about: str
    """What it is, as the table says it."""
    run: Run
    """The last run, which tests on the test frames."""
    model: bool = True
    """Whether its model branch learns anything."""


ONE_STAGE = ("--network.stages", "1")
PLAIN = tuple(word for term in ("silhouette", "depth", "joints", "features") for word in (f"--transfer.{term}", "0"))
"""CycleGAN without what makes it consistent."""
NO_PARTS, NO_TO_MODEL, NO_TO_PIXEL = (
    (f"--unlabelled.{term}", "0") for term in ("parts", "pixel-to-model", "model-to-pixel")
)


def _test(pretrained: str, *words: str) -> Run:
    return Run("ladder-self", ("--phase", "test", *words), {"--load-model": pretrained})


def _self(*words: str) -> Run:
    weights = {"--load-model": "adapt-consistent", "--transfer-net": "transfer-consistent"}
    return Run("ladder-self", words, weights)


RUNS: dict[str, Run] = {
    "pretrain": Run("ladder-pretrain"),
    "transfer-plain": Run("ladder-transfer", PLAIN, {"--transfer.reader": "pretrain"}, shared=True),
    "transfer-consistent": Run("ladder-transfer", (), {"--transfer.reader": "pretrain"}, shared=True),
    "adapt-clean": Run("ladder-adapt", (), {"--load-model": "pretrain"}),
    "adapt-plain": Run("ladder-adapt", (), {"--load-model": "pretrain", "--transfer-net": "transfer-plain"}),
    "adapt-consistent": Run("ladder-adapt", (), {"--load-model": "pretrain", "--transfer-net": "transfer-consistent"}),
}
"""Runs that rows share, by name."""

ROWS: dict[str, Row] = {
    "synthetic": Row("synthetic only", _test("adapt-clean", *ONE_STAGE)),
    "cyclegan": Row("+ CycleGAN", _test("adapt-plain", *ONE_STAGE)),
    "consistent": Row("+ Consis-CycleGAN", _test("adapt-consistent", *ONE_STAGE)),
    "self": Row("+ self-supervision, no parts", _self(*NO_PARTS, *NO_TO_MODEL, *NO_TO_PIXEL, *ONE_STAGE)),
    "parts": Row("+ parts", _self(*NO_TO_MODEL, *NO_TO_PIXEL, *ONE_STAGE)),
    "to-model": Row("+ pixel to model", _self(*NO_TO_PIXEL, *ONE_STAGE)),
    "both-ways": Row("+ model to pixel", _self(*ONE_STAGE)),
    "stage-2": Row("+ stage 2", _self()),
    "fitted": Row(
        "+ hands fitted to frames",
        Run("ladder-fitted", (), {"--load-model": "stage-2", "--transfer-net": "transfer-consistent"}),
    ),
    "synthetic-2": Row("synthetic only, two stages", _test("adapt-clean")),
    "consistent-2": Row("+ Consis-CycleGAN, two stages", _test("adapt-consistent")),
    "awr": Row(
        "supervised, pixel branch alone (AWR)",
        Run("ladder-supervised", ("--supervised.branches", "pixel", *ONE_STAGE)),
        model=False,
    ),
    "supervised": Row("supervised, both branches, two stages", Run("ladder-supervised")),
}
"""Rows of the table by name, in its order."""


@dataclass(frozen=True)
class Course:
    """A ladder: its rows and the runs that they share, by name."""

    rows: dict[str, Row]
    runs: dict[str, Run]

    def named(self, name: str) -> Run:
        """A shared run or a row's.

        Raises:
            UserError: there is none of that name.
        """
        if name in self.runs:
            return self.runs[name]
        if name in self.rows:
            return self.rows[name].run
        raise UserError(f"There is no row '{name}': choose {', '.join(self.rows)}.")

    def seed_of(self, name: str, seed: int) -> int:
        """The seed that a run has in the chain of `seed`."""
        return 0 if self.named(name).shared else seed

    def chain(self, name: str, seed: int) -> Iterator[tuple[str, int]]:
        """(name, seed) of all runs that a run needs, each before what needs it, itself last; may name one twice.

        Raises:
            UserError: there is none of that name.
        """
        seed = self.seed_of(name, seed)
        for needed in self.named(name).weights.values():
            yield from self.chain(needed, seed)
        yield name, seed

    def weights_of(self, row: str) -> str | None:
        """The run whose last weights a row shows; None for weights that come with the project."""
        run = self.named(row)
        return run.weights.get("--load-model") if "test" in run.words else row

    def folder(self, runs: Path, name: str, seed: int) -> Path:
        """Where a run is kept."""
        return runs / self.named(name).place / f"seed-{self.seed_of(name, seed)}" / name

    def words(
        self,
        runs: Path,
        name: str,
        seed: int,
        more: tuple[str, ...] = (),
        roots: Mapping[str, Path] = MappingProxyType({}),
    ) -> list[str]:
        """The words of `python train_render.py` that make a run from the start.

        Args:
            runs: where runs are kept.
            name: of the run.
            seed: of the ladder.
            more: further overrides.
            roots: folders of frames; one that is not given is named in capitals.

        Raises:
            UserError: there is no run of that name.
        """
        run, seed = self.named(name), self.seed_of(name, seed)
        options = [
            word
            for option, needed in run.weights.items()
            for word in (option, str(self.folder(runs, needed, seed) / "last.safetensors"))
        ]
        if run.frames:
            options += ["--data.root", str(roots.get(run.frames, run.frames.upper()))]
        return [
            *(run.experiment, *run.words, *options, *more),
            *("--seed", str(seed), "--run-dir", str(self.folder(runs, name, seed))),
        ]


BENCHMARK = Course(ROWS, RUNS)
"""The ladder on the benchmark; that on real depth is in ladder_real.py."""
