"""Loss terms that are not finite: noticed in time, without waiting for a GPU at every step."""

import torch
from torch import Tensor


class FiniteTerms:
    """Watches the loss terms of steps; `at_once`: whether looking costs nothing, as on a CPU.

    From the first term that is not finite on, `found` is 1. It is the optimiser's to leave weights and its own state
    as they are then, on the device, so that somebody need look only now and then.
    """

    def __init__(self, device: torch.device, at_once: bool) -> None:
        self.at_once = at_once
        self.found = torch.zeros((), device=device)
        self._unseen: list[tuple[int, tuple[str, ...], Tensor]] = []

    @torch.no_grad()
    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        """Take note of a step's terms."""
        wrong = ~torch.isfinite(torch.stack(list(terms.values())))
        self.found = torch.maximum(self.found, wrong.any().to(self.found.dtype))
        self._unseen.append((step, tuple(terms), wrong))

    def first_wrong(self) -> tuple[int, list[str]] | None:
        """The first step since the last look with terms that are not finite, and their names; waits for the device."""
        unseen, self._unseen = self._unseen, []
        if not bool(self.found):
            return None
        for step, names, wrong in unseen:
            if flags := [name for name, flag in zip(names, wrong.tolist(), strict=True) if flag]:
                return step, flags
        return None
