"""`python -m dataloader NAME --root DIR`: is a data set installed as it should be? The first run for every user."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from config import DataConfig
from util.cli import parse_settings, run_entry
from util.errors import UserError

PROGRAM = "python -m dataloader"


@dataclass(frozen=True)
class CheckLaunch:
    """One call."""

    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    """Which data set, where, and which part of it."""
    picture: Path = Path("check.png")
    """Where some crops of both splits are drawn."""


def main(words: Sequence[str]) -> int:
    """Print what is there and what is missing; 1 when a split cannot be used whole."""
    words = list(words)
    if words and not words[0].startswith("-"):
        words[:1] = ["--name", words[0]]
    launch = parse_settings(CheckLaunch, CheckLaunch(), words, PROGRAM, f"{PROGRAM} NAME --root DIR [OPTIONS]")
    if launch.data.name in ("demo", "benchmark"):
        raise UserError(
            f"{launch.data.name} is made, not read: name one of nyu, icvl, msra, hands17, shrec, dhg, frames."
        )
    from dataloader.check import SPLITS, check, contact_sheet  # after the words are understood: torch takes seconds
    from util.draw import write_png

    data = launch.data
    result = check(replace(data, workers=1))
    sys.stdout.write(f"{data.name} in {data.root}\n" + "".join(f"{line}\n" for line in result.lines))
    sheet = contact_sheet(result)
    if sheet is not None:
        write_png(launch.picture, sheet)
        sys.stdout.write(f"picture {launch.picture}: {len(result.pictures)} crops\n")
    sys.stdout.write(f"{result.complete} of {len(SPLITS)} splits are complete, {result.seconds:.1f} s\n")
    return 0 if result.complete == len(SPLITS) else 1


if __name__ == "__main__":
    sys.exit(run_entry(main))
