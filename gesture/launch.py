"""From the words of train_gesture.py's command line to settings."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from config_gesture import DEFAULT, EXPERIMENTS, GestureExperiment
from util.cli import guess, parse_settings
from util.errors import UserError
from util.settings import saved_experiment

PROGRAM = "train_gesture.py"
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class GestureLaunch:
    """One call of train_gesture.py."""

    experiment: Annotated[GestureExperiment, tyro.conf.arg(name="")]
    """What is run."""
    run_dir: Path | None = None
    """The run folder (default: runs/gesture-NAME-TIME)."""
    resume: Flag = False
    """Go on with the run in --run-dir."""
    parameters: Flag = False
    """Only say how many parameters each recogniser has for 14 classes."""

    @property
    def folder(self) -> Path:
        """The run folder, named after the experiment and the time where --run-dir does not say."""
        return self.run_dir or Path("runs") / f"gesture-{self.experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def parse_launch(words: Sequence[str]) -> GestureLaunch:
    """The experiment named by the first word (or DEFAULT), with the overrides of the others.

    With --resume, the settings are those of the run folder, again with the overrides.

    Raises:
        UserError: an unknown experiment or option, a value of the wrong type, a path that does not exist.
        SystemExit: code 0, after --help.
    """
    words = list(words)
    name = words.pop(0) if words and not words[0].startswith("-") else None
    if name is not None and name not in EXPERIMENTS:
        raise UserError(f"There is no experiment '{name}'{guess(name, EXPERIMENTS)}: choose {', '.join(EXPERIMENTS)}.")
    launch = _parsed(EXPERIMENTS[name or DEFAULT], words)
    if launch.resume:
        if launch.run_dir is None:
            raise UserError("--resume needs --run-dir DIR, the folder of the run to go on with.")
        saved = saved_experiment(launch.run_dir, GestureExperiment)
        if name is not None and name != saved.name:
            raise UserError(
                f"{launch.run_dir} holds a run of '{saved.name}', not of '{name}': leave the experiment's name out."
            )
        launch = _parsed(saved, words)
    if launch.run_dir is not None and launch.run_dir.exists() and not launch.run_dir.is_dir():
        raise UserError(f"--run-dir {launch.run_dir} is a file: give it a folder.")
    if (skeletons := launch.experiment.data.skeletons) is not None and not skeletons.is_dir():
        raise UserError(f"--data.skeletons {skeletons} is no folder: check the path.")
    return launch


def _parsed(experiment: GestureExperiment, words: Sequence[str]) -> GestureLaunch:
    program = f"{PROGRAM} {experiment.name}"
    return parse_settings(GestureLaunch, GestureLaunch(experiment), words, program, _overview())


def _overview() -> str:
    """The text above the options of --help."""
    width = max(map(len, EXPERIMENTS))
    lines = [f"  {name:{width}}  {e.about}{' (the default)' * (name == DEFAULT)}" for name, e in EXPERIMENTS.items()]
    return f"python {PROGRAM} [EXPERIMENT] [OPTIONS]\n\nExperiments:\n" + "\n".join(lines)
