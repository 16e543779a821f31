"""The folder of one run: all that is needed to see what it did, to repeat it and to go on with it.

config.json config.txt    the resolved settings, for programs and for people
run.json code.diff        command, commit, uncommitted changes, versions, of each session
tensorboard/ pictures/    what it showed on the way
last.* best.*             checkpoints: weights (.safetensors), their settings (.json), training state (.pt)
last.previous.pt          the training state before the last one, for when that is damaged (then: last.damaged.pt)
results.json              what it measured
.scores.shards/           phase test, until results.json is there: what was measured so far
"""

import importlib.metadata
import logging
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from config import Experiment
from config_gesture import GestureExperiment
from util.checkpoint import save_weights
from util.errors import UserError
from util.files import PART, is_unfinished, read_json, remove_unfinished, rename, write_json, write_text
from util.settings import saved_experiment, settings, to_plain
from util.training_state import load_training_state, save_training_state

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = logging.getLogger(__name__)

PACKAGES = ("torch", "numpy", "scipy", "opencv-python-headless", "warp-lang", "lightning-fabric", "roma", "safetensors")

FIRST_FILES = {"config.json", "config.txt", "run.json", "code.diff"}
LATER = {"pictures", "tensorboard"}


class RunFolder:
    """A run's folder, made or opened by `RunFolder.open`.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path, experiment: Experiment | GestureExperiment, resume: bool = False) -> "RunFolder":
        """Make the folder, or open one to go on with, and write down settings, commit and versions.

        A folder that a run has opened but left nothing in, since its input was refused, counts as empty.

        Raises:
            UserError: the folder holds something and `resume` is false, or holds no run and `resume` is true, or it
                cannot be written to.
        """
        run = cls(path)
        if resume:
            saved_experiment(path, type(experiment))
        elif path.exists() and not _free(path):
            raise UserError(
                f"The run folder {path} is not empty: add --resume to go on with it, or choose another --run-dir."
            )
        try:
            run.pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The run folder {path} cannot be written to ({error.strerror}): choose another --run-dir."
            ) from error
        remove_unfinished(path)
        write_json(path / "config.json", to_plain(experiment))
        lines = [f"{name} = {_readable(value)}" for name, value in settings(experiment)]
        write_text(path / "config.txt", "\n".join(lines) + "\n")
        run._record_session()
        return run

    @property
    def pictures(self) -> Path:
        """Where pictures go."""
        return self.path / "pictures"

    @property
    def last_weights(self) -> Path:
        """Weights of the newest checkpoint."""
        return self.path / "last.safetensors"

    @property
    def last_state(self) -> Path:
        """Training state of the newest checkpoint."""
        return self.path / "last.pt"

    @property
    def previous_state(self) -> Path:
        """Training state of the checkpoint before."""
        return self.path / "last.previous.pt"

    @property
    def best_weights(self) -> Path:
        """Weights of the checkpoint that a label-free measure on held-out data chose."""
        return self.path / "best.safetensors"

    @property
    def results_file(self) -> Path:
        """Where `write_results` puts the measures."""
        return self.path / "results.json"

    def tensorboard(self, purge_step: int | None = None) -> "SummaryWriter":
        """A TensorBoard writer in the folder; close it when done.

        Args:
            purge_step: on resume, the step gone back to: later entries of the interrupted session are hidden.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and many commands need no writer

        return SummaryWriter(str(self.path / "tensorboard"), purge_step=purge_step)

    def save_last(self, weights: Mapping[str, Tensor], config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write the newest checkpoint. Its training state holds the weights too: one file, so one moment in time.

        The training state that was the newest stays as `previous_state`. The state is written last: a run that is
        killed on the way goes on from the one before, and writes the same weights again.

        Args:
            weights: the network's state dict.
            config: the network's plain settings.
            state: optimiser, step and generators, as `save_training_state` takes them; the key `weights` is set here.

        Raises:
            UserError: the folder cannot be written to.
        """
        save_weights(self.last_weights, weights, config)
        coming = self.path / f".next{PART}"
        save_training_state(coming, {**state, "weights": dict(weights)})
        if self.last_state.is_file():
            rename(self.last_state, self.previous_state)
        rename(coming, self.last_state)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something that `load_last` may read."""
        return self.last_state.is_file() or self.previous_state.is_file()

    def load_last(self) -> dict[str, Any]:
        """The training state of `save_last`, `weights` included, or the one before where the newest is damaged.

        A damaged one is set aside, so that it never takes the place of a good one; a sentence says so.

        Raises:
            UserError: there is none, or both are damaged.
        """
        try:
            return load_training_state(self.last_state)
        except UserError:
            if not self.previous_state.is_file():
                raise
        what = "is damaged" if self.last_state.is_file() else "is missing"
        try:
            state = load_training_state(self.previous_state)
        except UserError as error:
            raise UserError(
                f"{self.last_state} {what}, and {self.previous_state} is damaged: start a new run with --load-model "
                f"{self.last_weights}."
            ) from error
        LOG.warning("%s %s: the checkpoint before it, %s, is used.", self.last_state, what, self.previous_state)
        with suppress(OSError):
            self.last_state.replace(self.path / "last.damaged.pt")
        return state

    def save_best(self, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Write the checkpoint that measures best so far."""
        save_weights(self.best_weights, weights, config)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write results.json, whole; a number that is not finite becomes null."""
        write_json(self.results_file, dict(results))

    def _record_session(self) -> None:
        file = self.path / "run.json"
        sessions = read_json(file)["sessions"] if file.is_file() else []
        session = {
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "command": sys.argv,
            "versions": _versions(),
            "commit": _git("rev-parse", "HEAD"),
            "changed_files": (_git("status", "--short") or "").splitlines(),
        }
        write_json(file, {"sessions": [*sessions, session]})
        difference = _git("diff", "HEAD")
        if difference is not None:
            write_text(self.path / "code.diff", difference + "\n")


def _free(path: Path) -> bool:
    """Whether a run may start in what exists: an empty folder, or one where a run got no further than its records."""
    if not path.is_dir():
        return False
    left = {
        p.name
        for p in path.iterdir()
        if not is_unfinished(p) and not (p.is_dir() and p.name in LATER and not any(p.iterdir()))
    }
    return not left or (left <= FIRST_FILES and "config.json" in left)


def _readable(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions


def _git(*arguments: str) -> str | None:
    """What git says about the code that runs, or None where it is no repository or there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n")
