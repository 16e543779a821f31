"""Networks of which every process has one, and how they stay alike: one step's gradient, statistics and terms.

Gradients, loss terms and the statistics of normalisation are put together once a step, whatever the number of parts;
torch's DistributedDataParallel would do so while it goes back through a network, but knows neither terms that divide by
what is in all parts nor two networks that play against each other.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm

from config import OptimConfig
from dataloader.sample import HandSample
from training.parts import ITSELF, Counts, Ready, StepLosses, own_parts
from util.processes import summed, world

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that reads frames for the first time; one that dies is noticed at once."""


class Replicas(DDPStrategy):
    """Fabric's data parallel strategy, with the reduction left to `Learning`."""

    def __init__(self) -> None:
        super().__init__(timeout=PATIENCE)

    def setup_module(self, module: nn.Module) -> Any:
        """As it is."""
        return module


class Learning:
    """Takes the gradient of steps, part by part, and puts it together."""

    def __init__(self, config: OptimConfig, networks: Iterable[nn.Module]) -> None:
        self.config = config
        self.parts = own_parts(config)
        self.networks = list(networks)
        self.statistics = Statistics(self.networks)
        for network in self.networks:
            _as_in_the_first(network)

    @property
    def of(self) -> int:
        """In how many parts a batch is cut."""
        return self.parts[0].of

    def gradient(
        self, step: int, losses: StepLosses, backward: Callable[[Tensor], None]
    ) -> tuple[dict[str, Tensor], dict[str, HandSample]]:
        """Put the gradient of a step's whole batch into the networks, whose gradients are none before.

        Returns its loss terms, and the samples of this process.
        """
        ready = [losses(step, part) for part in self.parts]
        counts = self._counts(ready)
        terms: dict[str, Tensor] = {}
        for turn, own in enumerate(ready):
            if self.config.cuda_graphs:
                torch.compiler.cudagraph_mark_step_begin()
            if self.of > 1:
                self.statistics.before(turn)
            mine = own.terms(counts)
            total = torch.stack(list(mine.values())).sum()
            backward(total / self.of if self.of > 1 else total)
            if self.of > 1:
                self.statistics.after(turn)
                mine = {name: value.detach() / self.of for name, value in mine.items()}
            terms = {name: terms[name] + value if turn else value for name, value in mine.items()}
        if self.of > 1:
            self.statistics.put_together(self.of)
            self._reduce(terms)
        return terms, _named(ready)

    def _counts(self, ready: list[Ready]) -> Counts:
        if self.of == 1:
            return ITSELF
        found = [own.counts() for own in ready]
        if not (names := list(found[0])):
            return ITSELF
        whole = torch.stack([torch.stack([each[name].double() for name in names]) for each in found]).sum(0)
        return dict(zip(names, (summed(whole) / self.of).float().unbind(), strict=True))

    @torch.no_grad()
    def _reduce(self, terms: dict[str, Tensor]) -> None:
        """Add up gradients and terms over processes, all in one message."""
        if world() == 1:
            return
        parameters = [p for network in self.networks for p in network.parameters()]
        parts = [p.grad for p in parameters if p.grad is not None]
        parts += [torch.stack(list(terms.values())).to(parts[0].dtype)]
        flat = summed(torch.cat([part.flatten() for part in parts])).split([part.numel() for part in parts])
        torch._foreach_copy_(parts, [piece.view(part.shape) for piece, part in zip(flat, parts, strict=True)])
        terms.update(zip(terms, parts[-1].unbind(), strict=True))


class Statistics:
    """What a forward pass in training changes by itself: running means of normalisation, power iterations.

    Each part starts from what the step before left, and the parts' results are averaged: so it does not matter whether
    parts follow each other or run side by side.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        kept: list[Tensor] = []
        for module in (module for network in networks for module in network.modules()):
            if isinstance(module, _NormBase | _SpectralNorm):
                kept += module.buffers(recurse=False)
        self.averaged = [buffer for buffer in kept if buffer.is_floating_point()]
        self.counted = [buffer for buffer in kept if not buffer.is_floating_point()]
        self._start: list[Tensor] = []
        self._sum: list[Tensor] = []

    @torch.no_grad()
    def before(self, turn: int) -> None:
        """Before this process's part number `turn` of a step."""
        if turn == 0:
            self._start = [buffer.clone() for buffer in (*self.averaged, *self.counted)]
            return
        for buffer, start in zip((*self.averaged, *self.counted), self._start, strict=True):
            buffer.copy_(start)

    @torch.no_grad()
    def after(self, turn: int) -> None:
        """After it."""
        if turn == 0:
            self._sum = [buffer.clone() for buffer in self.averaged]
        elif self._sum:
            torch._foreach_add_(self._sum, self.averaged)

    @torch.no_grad()
    def put_together(self, of: int) -> None:
        """After the last one; of: parts in all processes."""
        if not self.averaged:
            return
        flat = summed(torch.cat([own.flatten() for own in self._sum])) / of
        for buffer, mean in zip(self.averaged, flat.split([own.numel() for own in self._sum]), strict=True):
            buffer.copy_(mean.view(buffer.shape))


@torch.no_grad()
def _as_in_the_first(network: nn.Module) -> None:
    """Let a network have the first process's tensors."""
    if world() == 1:
        return
    for tensor in network.state_dict().values():
        torch.distributed.broadcast(tensor, 0)


def _named(ready: list[Ready]) -> dict[str, HandSample]:
    """The samples of all parts; those of a second part have a number behind their name, and so on."""
    return {
        name if turn == 0 else f"{name}{turn + 1}": sample
        for turn, own in enumerate(ready)
        for name, sample in own.samples.items()
    }
