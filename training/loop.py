"""The optimisation that all phases share: steps, schedule, weight averaging, logging, checkpoints, resume."""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from config import Experiment, OptimConfig
from model.network import DualBranchNetwork
from training.batch_file import write_batch
from training.finite import FiniteTerms, Undo
from training.parts import StepLosses
from training.replicas import Learning
from util.errors import UserError
from util.interruption import Interrupted, asked, steps_first
from util.processes import first_known, first_then_others, is_first, rank, wait, world
from util.random_state import random_state, set_random_state
from util.run_folder import RunFolder
from util.settings import to_plain

LOG = logging.getLogger(__name__)

AGREED_EVERY = 10
"""Steps after which processes tell each other of signals."""
GRADIENT = "gradient"
"""What the gradient is called among terms that are not finite."""


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

    A kind of loop says how one step is taken (`_update`), what a check writes (`check`), and what goes on (`save`).
    """

    def __init__(
        self, experiment: Experiment, folder: RunFolder, device: torch.device, networks: Sequence[nn.Module]
    ) -> None:
        self.experiment = experiment
        self.config = experiment.optim
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self.skipped = 0
        self.finite = FiniteTerms(device, at_once=device.type == "cpu" or self.config.skip > 0)
        self.learning = Learning(self.config, networks)
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
        Raises UserError when a loss is not finite; the last checkpoint stays as it was. Raises Interrupted when a
        signal has asked for the end, after the step that it fell into and a checkpoint.
        """
        with steps_first():
            self._run(losses, images_per_step, judge, picture if is_first() else None)
        self.writer.close()
        wait()

    def _run(
        self,
        losses: StepLosses,
        images_per_step: int,
        judge: Callable[[nn.Module, int], float] | None,
        picture: Callable[[int], None] | None,
    ) -> None:
        steps, hidden = self.config.steps, not is_first()
        bar = tqdm(range(self.step, steps), initial=self.step, total=steps, mininterval=2, disable=hidden)
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
            looked = self.step % self.config.check_every == 0 or self.step == self.config.steps
            if looked:
                if picture is not None:
                    picture(self.step)
                self.check(judge)
                since, at = time.perf_counter(), self.step
            if signal := self._asked():
                if not looked:
                    self.seconds += time.perf_counter() - since
                    self._look()
                    self.save()
                self.writer.close()
                where = f"--run-dir {self.folder.path} --resume"
                raise Interrupted(f"Stopped by {signal} after step {self.step}; {where} goes on.")

    def _asked(self) -> str | None:
        """The signal that asked for the end; processes agree on it now and then, so that all end after one step."""
        if world() > 1 and self.step % AGREED_EVERY and self.step < self.config.steps:
            return None
        return first_known(asked())

    @abstractmethod
    def check(self, judge: Callable[[nn.Module, int], float] | None) -> None:
        """Score what is trained and write the last checkpoint."""

    @abstractmethod
    def save(self) -> None:
        """Write the last checkpoint."""

    @abstractmethod
    def _update(self, step: int, losses: StepLosses) -> tuple[dict[str, Tensor], Tensor, dict[str, float | Tensor]]:
        """Take one step; its terms, their sum, and what else is logged."""

    def _may_learn(self, step: int, terms: dict[str, Tensor]) -> bool:
        """Whether a step may be taken; where nobody looks at once, its optimiser finds that out by itself.

        Raises UserError when terms are not finite and no more steps may be skipped.
        """
        self.finite.add(step, terms)
        if not self.finite.at_once or (wrong := self.finite.first_wrong()) is None:
            return True
        if self.skipped >= self.config.skip:
            raise self._not_finite(*wrong)
        self.skipped += 1
        LOG.warning("Step %d is skipped: %s is not finite.", step, ", ".join(wrong[1]))
        self.finite.forgive()
        return False

    def _look(self) -> None:
        """Raise UserError where a term has not been finite since the last look."""
        if (wrong := self.finite.first_wrong()) is not None:
            raise self._not_finite(*wrong)

    def _not_finite(self, step: int, names: list[str], frames: dict[str, tuple[str, ...]]) -> UserError:
        """The sentence, once the batch is written."""
        of = "" if is_first() else f"-{rank()}"  # each process has a part of the batch
        path = self.folder.path / f"not-finite-{step}{of}.safetensors"
        joint_sets = {name: sample.joint_set for name, sample in self.finite.batch.items()}
        names = [name for name in names if name != GRADIENT] or names
        about = {"step": str(step), "terms": ", ".join(names)}
        kept = ""
        if self.finite.culprit:
            with suppress(UserError):  # a full disk is no reason to say less
                write_batch(path, self.finite.culprit, frames, joint_sets, about)
                kept = f" (its batch is {path.name})"
        option = "--transfer.learning-rate" if self.experiment.phase == "transfer" else "--optim.learning-rate"
        return UserError(
            f"Step {step}: {about['terms']} is not finite{kept}; go on from {self.folder.path} with --resume and a "
            f"smaller {option}, or leave out a few such steps with --optim.skip."
        )

    def _common_state(self) -> dict:
        """What goes on whatever is trained."""
        return {"step": self.step, "seconds": self.seconds, "skipped": self.skipped, "random": random_state()}

    def _begin(self, resume: bool) -> dict | None:
        """The state to go on from, if there is one; the common part of it is taken over."""
        state = None
        if resume and not self.folder.has_checkpoint:
            LOG.warning("%s holds no checkpoint yet: its steps begin anew.", self.folder.path)
        elif resume:
            state = first_then_others(self.folder.load_last)
            self.step, self.seconds, self.skipped = state["step"], state["seconds"], state.get("skipped", 0)
            if "random" in state:
                set_random_state(state["random"])
        self.writer = self.folder.tensorboard(self.step if resume else None)
        return state

    def _log(self, terms: dict[str, Tensor], total: Tensor, others: dict[str, float | Tensor]) -> None:
        self._look()
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
        super().__init__(experiment, folder, fabric.device, [network])
        self.fabric = fabric
        self.network = network
        self.schedule = Schedule(self.config)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay, fused=True
        )
        self.wrapped, self.optimizer = fabric.setup(network, optimizer)
        self.averaged = AveragedWeights(network, self.config.average)
        self.best = math.inf
        if (state := self._begin(resume)) is not None:
            self._load(state)

    def _update(self, step: int, losses: StepLosses) -> tuple[dict[str, Tensor], Tensor, dict[str, float | Tensor]]:
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        undo = Undo([self.network]) if self.config.skip else None
        self.optimizer.zero_grad(set_to_none=True)
        terms, self.finite.batch = self.learning.gradient(step, losses, self.fabric.backward)
        total = torch.stack(list(terms.values())).sum()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        if self._may_learn(step, {**terms, GRADIENT: norm}):
            self.optimizer.optimizer.found_inf = self.finite.found  # type: ignore[attr-defined]  # where this is 1, a fused optimiser changes nothing
            self.optimizer.step()
            self.averaged.update(self.network, step)
        elif undo is not None:
            undo()
        return terms, total, {"rate": rate, "gradient_norm": norm}

    def check(self, judge: Callable[[nn.Module, int], float] | None) -> None:
        """Score the averaged weights, keep them when they are the best so far, and write the last checkpoint."""
        self._look()
        if judge is not None:
            with self.averaged_weights() as network:
                score = judge(network, self.step)
            if score < self.best:
                self.best = score
                self.folder.save_best(self.averaged.state, self._network_config())
        self.save()

    def save(self) -> None:
        """Write the last checkpoint: all that the next step depends on."""
        state = {
            **self._common_state(),
            "best": self.best,
            "network": self.network.state_dict(),
            "training": self.network.training,
            "optimizer": self.optimizer.state_dict(),
        }
        self.folder.save_last(self.averaged.state, self._network_config(), state)

    def averaged_weights(self) -> "_Swapped":
        """Context in which the network holds its averaged weights and is in evaluation mode."""
        return _Swapped(self.network, self.averaged.state)

    def _network_config(self) -> dict:
        return to_plain(self.network.config)

    def _load(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.network.train(state.get("training", True))
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.state = {name: value.to(self.fabric.device) for name, value in state["weights"].items()}
        self.best = state["best"]


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
