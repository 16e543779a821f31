"""How well a recogniser does on a bank of sequences: accuracy, loss, which class is taken for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from config_gesture import RecogniserConfig
from gesture.augment import Augmentation
from gesture.bank import SequenceBank
from gesture.recognisers import RECIPES, frames_of


@dataclass(frozen=True)
class Scores:
    """What came out for n sequences."""

    confusion: Int[np.ndarray, "classes classes"]
    """Number of sequences of class (row) that were taken for class (column)."""
    loss: float
    """Mean cross entropy."""

    @property
    def accuracy(self) -> float:
        """Share of sequences taken for what they are."""
        return float(np.trace(self.confusion) / max(self.confusion.sum(), 1))

    def better_than(self, other: tuple[float, float]) -> bool:
        """Than another accuracy and loss: of equal accuracies the smaller loss."""
        return (self.accuracy, -self.loss) > (other[0], -other[1])

    def plain(self, names: Sequence[str]) -> dict:
        """For results.json; accuracies of classes that do not occur are null."""
        totals = self.confusion.sum(1)
        each = [float(self.confusion[k, k] / n) if n else None for k, n in enumerate(totals)]
        return {
            "sequences": int(totals.sum()),
            "accuracy": self.accuracy,
            "loss": self.loss,
            "classes": dict(zip(names, each, strict=True)),
            "confusion": self.confusion.tolist(),
        }


def seen(bank: SequenceBank, chosen: Tensor, config: RecogniserConfig, augment: Augmentation | None = None) -> Tensor:
    """What the recogniser sees of the chosen sequences, (b, frames, joints or points, 3)."""
    if RECIPES[config.name].sees == "points":
        return bank.points(chosen, frames_of(config), config.points, augment)
    return bank.joints(chosen, frames_of(config), augment)


@torch.no_grad()
def measure(network: nn.Module, bank: SequenceBank, config: RecogniserConfig, classes: int, batch: int = 64) -> Scores:
    """Scores of a network, which is left in evaluation mode."""
    network.eval()
    confusion, loss = np.zeros((classes, classes), np.int64), 0.0
    for chosen in torch.arange(len(bank), device=bank.labels.device).split(batch):
        logits, labels = network(seen(bank, chosen, config)).float(), bank.labels[chosen]
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        np.add.at(confusion, (labels.cpu().numpy(), logits.argmax(-1).cpu().numpy()), 1)
    return Scores(confusion, loss / max(len(bank), 1))
