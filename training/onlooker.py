"""The run folder as those processes see it that do not write."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from config import Experiment
from util.processes import first_only, is_first
from util.run_folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Onlooker(RunFolder):
    """Reads what the first process writes, and writes nothing."""

    def tensorboard(self, purge_step: int | None = None) -> "SummaryWriter":
        """A writer that forgets."""
        return cast("SummaryWriter", _Forgetful())

    def save_last(self, weights: Mapping[str, Tensor], config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """The first process does."""

    def save_best(self, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """The first process does."""

    def write_results(self, results: Mapping[str, Any]) -> None:
        """The first process does."""


class _Forgetful:
    """Stands for a SummaryWriter."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def open_folder(path: Path, experiment: Experiment, resume: bool = False) -> RunFolder:
    """`RunFolder.open`, by the first process; the others look on. Raises UserError as that does, in all of them."""
    opened: list[RunFolder] = []
    first_only(lambda: opened.append(RunFolder.open(path, experiment, resume)))
    return opened[0] if is_first() else Onlooker(path)
