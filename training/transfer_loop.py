"""Optimisation of image translation: two generators against two discriminators, with checkpoints of both."""

from dataclasses import dataclass
from itertools import chain

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from config import Experiment, TransferConfig
from model.discriminator import PatchDiscriminator
from model.generator import Generator
from model.transfer import new_generator
from training.finite import Undo
from training.loop import AveragedWeights, StepLosses, Steps
from training.transfer_losses import ImagePool
from util.published import GeneratorSize
from util.run_folder import RunFolder

JUDGES = "discriminator/"
"""What the names of discriminators' loss terms start with; all other terms are the generators'."""


@dataclass(frozen=True)
class TransferNetworks:
    """The networks of both directions."""

    to_real: Generator
    """Rendered -> real appearance: the one that is used afterwards."""
    to_rendered: Generator
    """Back."""
    judge_real: PatchDiscriminator
    """Tells real crops from translated rendered ones."""
    judge_rendered: PatchDiscriminator
    """Tells rendered crops from translated real ones."""

    @staticmethod
    def new(config: TransferConfig, device: torch.device, start: Generator | None = None) -> "TransferNetworks":
        """Drawn anew, but for `start`, a rendered-to-real generator to go on with: the other one has its size."""
        to_real = start or new_generator(GeneratorSize(config.filters, config.blocks, config.generator == "correcting"))
        networks = (
            to_real,
            new_generator(to_real.size),
            *(
                PatchDiscriminator(
                    config.discriminator_filters, config.discriminator_layers, config.detail, config.spectral
                )
                for _ in range(2)
            ),
        )
        placed = [network.train().to(device, memory_format=torch.channels_last) for network in networks]  # type: ignore[call-overload]
        return TransferNetworks(*placed)

    @property
    def generators(self) -> tuple[Generator, Generator]:
        """Both generators."""
        return self.to_real, self.to_rendered

    @property
    def judges(self) -> tuple[PatchDiscriminator, PatchDiscriminator]:
        """Both discriminators."""
        return self.judge_real, self.judge_rendered

    def all(self) -> dict[str, nn.Module]:
        """The four by name."""
        return {name: getattr(self, name) for name in ("to_real", "to_rendered", "judge_real", "judge_rendered")}


class TransferLoop(Steps):
    """Trains the four, from a run folder's last checkpoint on, if there is one to resume."""

    def __init__(
        self,
        experiment: Experiment,
        fabric: Fabric,
        networks: TransferNetworks,
        folder: RunFolder,
        resume: bool = False,
    ) -> None:
        super().__init__(experiment, folder, fabric.device, list(networks.all().values()))
        self.networks, self.device = networks, fabric.device
        config = experiment.transfer
        self.optimizers = [
            torch.optim.Adam(
                chain.from_iterable(network.parameters() for network in pair),
                lr=config.learning_rate,
                betas=config.betas,
                fused=True,
            )
            for pair in (networks.generators, networks.judges)
        ]
        self.pools = {"real": ImagePool(config.pool), "rendered": ImagePool(config.pool)}
        self.averaged = AveragedWeights(networks.to_real, config.average)
        if (state := self._begin(resume)) is not None:
            self._load(state)

    def rate(self, step: int) -> float:
        """Learning rate of a step: constant, then falling linearly to 0."""
        config, steps = self.experiment.transfer, self.config.steps
        falling = max(steps * (1 - config.constant_share), 1e-9)
        return config.learning_rate * min(1.0, (steps - step) / falling)

    def averaged_generator(self) -> Generator:
        """A copy of the rendered-to-real generator with averaged weights, ready for use."""
        generator = new_generator(self.networks.to_real.size).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator.load_state_dict(self.averaged.state)
        return generator.eval().requires_grad_(False)

    def check(self, judge: object) -> None:
        """Write the last checkpoint; there is no best one, since no loss of such a game says how good it is."""
        self._look()
        self.save()

    def save(self) -> None:
        """Write the last checkpoint: all that the next step depends on."""
        state = {
            **self._common_state(),
            "networks": {name: network.state_dict() for name, network in self.networks.all().items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "pools": {name: pool.state() for name, pool in self.pools.items()},
        }
        self.folder.save_last(self.averaged.state, {"generator": self.networks.to_real.size._asdict()}, state)

    def _update(self, step: int, losses: StepLosses) -> tuple[dict[str, Tensor], Tensor, dict[str, float | Tensor]]:
        rate = self.rate(step)
        undo = Undo(self.networks.all().values()) if self.config.skip else None
        pools = {name: pool.state() for name, pool in self.pools.items()}
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        terms, self.finite.batch = self.learning.gradient(step, losses, Tensor.backward)
        total = torch.stack(list(terms.values())).sum()
        if not self._may_learn(step, terms):
            if undo is not None:
                undo()
            for name, images in pools.items():
                self.pools[name].load(images, self.device)
            return terms, total, {"rate": rate}
        factors = 1.0, self.experiment.transfer.discriminator_rate
        for optimizer, factor in zip(self.optimizers, factors, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.found_inf = self.finite.found  # type: ignore[attr-defined]  # where this is 1, a fused optimiser changes nothing
            optimizer.step()
        self.averaged.update(self.networks.to_real, step)
        return terms, total, {"rate": rate}

    def _load(self, state: dict) -> None:
        for name, network in self.networks.all().items():
            network.load_state_dict(state["networks"][name])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        for name, pool in self.pools.items():
            pool.load(state["pools"][name], self.device)
        self.averaged.state = {name: value.to(self.device) for name, value in state["weights"].items()}
