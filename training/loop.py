"""The optimisation that all phases share: steps, schedule, weight averaging, logging, checkpoints, resume."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from config import Experiment, OptimConfig
from model.network import DualBranchNetwork
from training.finite import FiniteTerms
from training.prefetch import step_generator
from util.errors import UserError
from util.run_folder import RunFolder
from util.settings import to_plain

StepLosses = Callable[[int, torch.Generator], dict[str, Tensor]]
"""(step, generator of that step) -> weighted loss terms by name."""


@dataclass
class Schedule:
    """Learning rate of a step: linear warm-up, then cosine or published step decay."""

    config: OptimConfig

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        config = self.config
        warm = min(1.0, (step + 1) / max(config.warmup, 1))
        if config.schedule == "step":
            return config.learning_rate * warm * 0.1 ** (step // max(config.decay_every, 1))
        progress = step / max(config.steps, 1)
        floor = config.final_rate
        return config.learning_rate * warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


class AveragedWeights:
    """Exponential moving average of a network's tensors: what is tested and shipped."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network; faster over the first steps, where the average would still be the start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        floating = [
            (mean, new) for name, new in network.state_dict().items() if (mean := self.state[name]).is_floating_point()
        ]
        torch._foreach_lerp_([mean for mean, _ in floating], [new for _, new in floating], 1 - decay)


class Steps(ABC):
    """What a phase does whatever it trains: takes its steps one after another, logs, checks, keeps time.

    A kind of loop says how one step is taken (`_update`) and what a check writes (`check`).
    """

    def __init__(self, experiment: Experiment, folder: RunFolder) -> None:
        self.experiment = experiment
        self.config = experiment.optim
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self.writer: SummaryWriter

    def run(
        self,
        losses: StepLosses,
        images_per_step: int,
        judge: Callable[[nn.Module, int], float] | None = None,
        picture: Callable[[int], None] | None = None,
    ) -> None:
        """Take the remaining steps.

        losses: the phase's loss terms. judge: a score of the averaged network on held-out data, lower is better; it
        chooses `best`. picture: writes images to TensorBoard.
        Raises UserError when a loss is not finite; the last checkpoint stays as it was.
        """
        bar = tqdm(range(self.step, self.config.steps), initial=self.step, total=self.config.steps, mininterval=2)
        since, at = time.perf_counter(), self.step
        for step in bar:
            terms, total, others = self._update(step, losses)
            self.step = step + 1
            if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                elapsed = time.perf_counter() - since
                speed = images_per_step * (self.step - at) / max(elapsed, 1e-9)
                self.seconds += elapsed
                self._log(terms, total, {**others, "images_per_s": speed})
                bar.set_postfix(loss=f"{float(total.detach()):.3f}", images_per_s=f"{speed:.0f}")
                since, at = time.perf_counter(), self.step
            if self.step % self.config.check_every == 0 or self.step == self.config.steps:
                if picture is not None:
                    picture(self.step)
                self.check(judge)
                since, at = time.perf_counter(), self.step
        self.writer.flush()

    @abstractmethod
    def check(self, judge: Callable[[nn.Module, int], float] | None) -> None:
        """Score what is trained and write the last checkpoint."""

    @abstractmethod
    def _update(self, step: int, losses: StepLosses) -> tuple[dict[str, Tensor], Tensor, dict[str, float | Tensor]]:
        """Take one step; its terms, their sum, and what else is logged."""

    def _finite_sum(self, terms: dict[str, Tensor], step: int, option: str = "--optim.learning-rate") -> Tensor:
        """The sum of terms. Raises UserError, naming those that are not finite and the option to lower."""
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            wrong = [name for name, value in terms.items() if not torch.isfinite(value)]
            raise self._not_finite(step, wrong, option)
        return total

    def _not_finite(self, step: int, names: list[str], option: str = "--optim.learning-rate") -> UserError:
        return UserError(
            f"Step {step}: {', '.join(names)} is not finite; go on from {self.folder.path} with --resume and a "
            f"smaller {option}."
        )

    def _log(self, terms: dict[str, Tensor], total: Tensor, others: dict[str, float | Tensor]) -> None:
        self.writer.add_scalar("loss/total", float(total.detach()), self.step)
        for name, value in terms.items():
            self.writer.add_scalar(f"loss/{name}", float(value.detach()), self.step)
        for name, value in others.items():
            self.writer.add_scalar(f"training/{name}", float(value), self.step)


class Loop(Steps):
    """Trains a hand pose network, from a run folder's last checkpoint on, if there is one to resume."""

    def __init__(
        self,
        experiment: Experiment,
        fabric: Fabric,
        network: DualBranchNetwork,
        folder: RunFolder,
        resume: bool = False,
    ) -> None:
        super().__init__(experiment, folder)
        self.fabric = fabric
        self.network = network
        self.schedule = Schedule(self.config)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay, fused=True
        )
        self.wrapped, self.optimizer = fabric.setup(network, optimizer)
        self.averaged = AveragedWeights(network, self.config.average)
        self.finite = FiniteTerms(fabric.device, at_once=fabric.device.type == "cpu")
        self.best = math.inf
        if resume:
            self._load()
        self.writer = folder.tensorboard(self.step if resume else None)

    def _update(self, step: int, losses: StepLosses) -> tuple[dict[str, Tensor], Tensor, dict[str, float | Tensor]]:
        generator = step_generator(self.experiment.seed, step)
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.config.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        terms = losses(step, generator)
        total = torch.stack(list(terms.values())).sum()
        self.finite.add(step, terms)
        if self.finite.at_once:
            self._look()
        self.optimizer.optimizer.found_inf = self.finite.found  # type: ignore[attr-defined]  # where this is 1, a fused optimiser changes nothing
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimizer.step()
        self.averaged.update(self.network, step)
        return terms, total, {"rate": rate, "gradient_norm": norm}

    def _look(self) -> None:
        """Raise UserError where a term has not been finite since the last look."""
        if (wrong := self.finite.first_wrong()) is not None:
            raise self._not_finite(*wrong)

    def _log(self, terms: dict[str, Tensor], total: Tensor, others: dict[str, float | Tensor]) -> None:
        self._look()
        super()._log(terms, total, others)

    def check(self, judge: Callable[[nn.Module, int], float] | None) -> None:
        """Score the averaged weights, keep them when they are the best so far, and write the last checkpoint."""
        self._look()
        if judge is not None:
            with self.averaged_weights() as network:
                score = judge(network, self.step)
            if score < self.best:
                self.best = score
                self.folder.save_best(self.averaged.state, self._network_config())
        self.folder.save_last(self.averaged.state, self._network_config(), self._state())

    def averaged_weights(self) -> "_Swapped":
        """Context in which the network holds its averaged weights and is in evaluation mode."""
        return _Swapped(self.network, self.averaged.state)

    def _network_config(self) -> dict:
        return to_plain(self.network.config)

    def _state(self) -> dict:
        return {
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def _load(self) -> None:
        state = self.folder.load_last()
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.state = {name: value.to(self.fabric.device) for name, value in state["weights"].items()}
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]


class _Swapped:
    """Lends a network other tensors and evaluation mode, and gives its own back."""

    def __init__(self, network: nn.Module, state: dict[str, Tensor]) -> None:
        self.network, self.state = network, state

    def __enter__(self) -> nn.Module:
        self.own = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.state)
        return self.network.eval()

    def __exit__(self, *exc: object) -> None:
        self.network.load_state_dict(self.own)
        self.network.train()
