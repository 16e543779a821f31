"""Loss terms that are not finite: noticed in time, without waiting for a GPU at every step, and what they came from."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dataloader.sample import HandSample
from training.batch_file import columns


class FiniteTerms:
    """Watches the loss terms of steps; `at_once`: whether somebody looks after each, which costs nothing on a CPU.

    From the first term that is not finite on, `found` is 1. It is the optimiser's to leave weights and its own state
    as they are then, on the device, so that somebody need look only now and then.

    Attributes:
        batch: what the step learns from, by name; whoever makes the terms puts it here.
        culprit: tensors and frame names of the first step that went wrong, or of the last one that did not.
    """

    def __init__(self, device: torch.device, at_once: bool) -> None:
        self.at_once = at_once
        self.found = torch.zeros((), device=device)
        self.batch: dict[str, HandSample] = {}
        self.culprit: dict[str, Tensor] = {}
        self._unseen: list[tuple[int, tuple[str, ...], Tensor, dict[str, tuple[str, ...]]]] = []

    @torch.no_grad()
    def add(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Take note of a step's terms and of `batch`."""
        wrong = ~torch.isfinite(torch.stack([value.detach() for value in terms.values()]))
        tensors = columns(self.batch)
        if not self.at_once and _shapes(self.culprit) == _shapes(tensors):  # whose batch that was is known later
            tensors = {name: torch.where(self.found > 0, self.culprit[name], new) for name, new in tensors.items()}
        self.culprit = tensors
        self.found = torch.maximum(self.found, wrong.any().to(self.found.dtype))
        self._unseen.append((step, tuple(terms), wrong, {name: each.frames for name, each in self.batch.items()}))

    def first_wrong(self) -> tuple[int, list[str], dict[str, tuple[str, ...]]] | None:
        """The first step since the last look with terms that are not finite, their names, and the names of its frames.

        Waits for the device.
        """
        unseen, self._unseen = self._unseen, []
        if not bool(self.found):
            return None
        for step, names, wrong, frames in unseen:
            if flags := [name for name, flag in zip(names, wrong.tolist(), strict=True) if flag]:
                return step, flags, frames
        return None

    def forgive(self) -> None:
        """Go on as if what has been found had not been."""
        self.found = torch.zeros_like(self.found)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


class Undo:
    """What a forward pass changes in networks (running means, power iterations), to be put back."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        self._kept = [(buffer, buffer.detach().clone()) for network in networks for buffer in network.buffers()]

    @torch.no_grad()
    def __call__(self) -> None:
        """Put it back."""
        for buffer, kept in self._kept:
            buffer.copy_(kept)
