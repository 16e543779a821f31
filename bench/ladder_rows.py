"""The rows of the ladder and the runs whose weights they share: what `bench/ladder.py` runs (docs/benchmark.md)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

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


def named(name: str) -> Run:
    """A shared run or a row's.

    Raises:
        UserError: there is none of that name.
    """
    if name in RUNS:
        return RUNS[name]
    if name in ROWS:
        return ROWS[name].run
    raise UserError(f"There is no row '{name}': choose {', '.join(ROWS)}.")


def seed_of(name: str, seed: int) -> int:
    """The seed that a run has in the chain of `seed`."""
    return 0 if named(name).shared else seed


def chain(name: str, seed: int) -> Iterator[tuple[str, int]]:
    """(name, seed) of all runs that a run needs, each before what needs it, itself last; may name one twice.

    Raises:
        UserError: there is none of that name.
    """
    seed = seed_of(name, seed)
    for needed in named(name).weights.values():
        yield from chain(needed, seed)
    yield name, seed


def folder(runs: Path, name: str, seed: int) -> Path:
    """Where a run is kept."""
    return runs / f"seed-{seed_of(name, seed)}" / name


def words(runs: Path, name: str, seed: int, more: tuple[str, ...] = ()) -> list[str]:
    """The words of `python train_render.py` that make a run from the start; more: further overrides.

    Raises:
        UserError: there is none of that name.
    """
    run, seed = named(name), seed_of(name, seed)
    options = [
        word
        for option, needed in run.weights.items()
        for word in (option, str(folder(runs, needed, seed) / "last.safetensors"))
    ]
    return [
        *(run.experiment, *run.words, *options, *more),
        *("--seed", str(seed), "--run-dir", str(folder(runs, name, seed))),
    ]
