"""The benches that watch and kill whole runs: one real kill, one short watch, and what they make of what they see."""

import random
from pathlib import Path

import pytest

from bench import health, kill_resume
from bench.health import Health
from bench.kill_resume import Life, Moment
from util.cli import parse_launch
from util.errors import UserError
from util.plot import write_lines_figure
from util.run_folder import RunFolder


def test_a_process_is_killed_while_it_writes(tmp_path: Path) -> None:
    life = kill_resume.live("pretrain", tmp_path / "run", resume=False, moment=Moment(writings=1))
    assert life.killed and life.code == -9 and life.writings >= 1
    experiment = parse_launch(["smoke", *kill_resume.PHASES["pretrain"]]).experiment
    resume = (tmp_path / "run" / "run" / "config.json").is_file()
    assert RunFolder.open(tmp_path / "run" / "run", experiment, resume).path.is_dir()


@pytest.mark.parametrize("phase", kill_resume.PHASES)
def test_phases_that_are_killed_are_understood(phase: str) -> None:
    experiment = parse_launch(["smoke", *kill_resume.PHASES[phase]]).experiment
    assert experiment.optim.steps == 9 and experiment.optim.check_every == 3


def test_moments_are_spread_over_a_whole_life() -> None:
    draw = random.Random(0)
    moments = [kill_resume._drawn(draw, Life(False, 0, 10.0, 7, "")) for _ in range(400)]
    seconds = [moment.seconds for moment in moments if moment.seconds is not None]
    writings = [moment.writings for moment in moments if moment.writings is not None]
    assert len(seconds) + len(writings) == 400 and 150 < len(seconds) < 250
    assert min(seconds) < 0.5 and max(seconds) > 9.5 and set(writings) == set(range(1, 8))


def test_refusals() -> None:
    for words in (["--phases", "nothing"], ["--kills", "0"]):
        with pytest.raises(UserError):
            kill_resume.main(words)
    for words in (["--phases", "nothing"], ["--steps", "2"], ["--plot", "a.txt"]):
        with pytest.raises(UserError):
            health.main(words)


def test_a_short_run_is_watched() -> None:
    watched = Health(**health.watch("labelled", 8))
    assert watched.steps == list(range(1, 9)) and len(watched.memory_mib) == len(watched.files) == 8
    assert min(watched.memory_mib) > 100 and watched.released()
    assert watched.plain()["steps"] == 8


def test_what_grows_and_what_stays_open_is_seen() -> None:
    flat, leaking = ([300.0 + slope * step for step in range(100)] for slope in (0.0, 1.0))
    assert Health("a", memory_mib=flat).growth_mib == 0 and Health("a", memory_mib=leaking).growth_mib == 50
    assert not Health("a", files_before=5, files_after=6).released()
    assert not Health("a", children_after=1).released()
    with open("/dev/null") as _:  # noqa: PTH123
        more = health.open_files()
    assert more == health.open_files() + 1


def test_the_figure_is_written(tmp_path: Path) -> None:
    lines = {"train": ([1, 2], [300.0, 310.0]), "transfer": ([1, 2], [200.0, 205.0])}
    write_lines_figure(tmp_path / "a.svg", {"memory, MiB": lines, "files": lines}, "step")
    text = (tmp_path / "a.svg").read_text()
    assert "memory, MiB" in text and "transfer" in text
