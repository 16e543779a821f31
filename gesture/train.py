"""A recogniser is trained: steps, checks, checkpoints, selection, resume.

What a step draws depends on the seed and its number alone, so that a run that was interrupted goes on as it would have.
"""

import math
import time
from dataclasses import asdict

import torch
from torch import Tensor, nn
from tqdm import tqdm

from config import OptimConfig
from config_gesture import GestureExperiment
from gesture.augment import Augmentation
from gesture.bank import SequenceBank
from gesture.measure import Scores, measure, seen
from training.loop import Schedule
from util.errors import UserError
from util.run_folder import RunFolder
from util.settings import to_plain
from util.streams import stream


class GestureTraining:
    """One recogniser on its way, from a run folder's last checkpoint on if there is one to resume.

    Attributes:
        step: steps taken.
        best: accuracy and loss of the checkpoint chosen so far, and its step.
    """

    def __init__(
        self,
        experiment: GestureExperiment,
        network: nn.Module,
        learn: SequenceBank,
        select: SequenceBank,
        folder: RunFolder,
        resume: bool = False,
    ) -> None:
        """learn: what is learned from; select: what the best checkpoint is chosen on."""
        self.experiment, self.config, self.folder = experiment, experiment.optim, folder
        self.network, self.learn, self.select = network, learn, select
        self.optimizer = make_optimizer(experiment, network)
        config = self.config
        self.schedule = Schedule(
            OptimConfig(
                steps=config.steps,
                learning_rate=config.learning_rate,
                warmup=config.warmup,
                final_rate=config.final_rate,
            )
        )
        self.step, self.seconds = 0, 0.0
        self.best: tuple[float, float, int] = (-1.0, math.inf, 0)
        if resume:
            self._load()
        self.writer = folder.tensorboard(self.step if resume else None)

    def run(self) -> None:
        """Take the remaining steps.

        Raises:
            UserError: the loss is not finite; the last checkpoint stays as it was.
        """
        config, since = self.config, time.perf_counter()
        bar = tqdm(range(self.step, config.steps), initial=self.step, total=config.steps, mininterval=2, disable=None)
        for step in bar:
            loss, rate = self._update(step)
            self.step = step + 1
            if self.step % config.log_every == 0 or self.step == config.steps:
                self.writer.add_scalar("loss/learned", float(loss), self.step)
                self.writer.add_scalar("training/rate", rate, self.step)
                bar.set_postfix(loss=f"{float(loss):.3f}", best=f"{max(self.best[0], 0):.3f}")
            if self.step % config.check_every == 0 or self.step == config.steps:
                self.seconds += time.perf_counter() - since
                self._check()
                since = time.perf_counter()
        self.writer.flush()

    def _update(self, step: int) -> tuple[Tensor, float]:
        experiment, config = self.experiment, self.config
        draws = stream("gesture step", experiment.seed, step)
        torch.manual_seed(draws.initial_seed())  # dropout has no generator of its own
        chosen = batch_of(step, config.batch, len(self.learn), experiment.seed).to(self.learn.labels.device)
        self.network.train()
        sequences = seen(self.learn, chosen, experiment.recogniser, Augmentation(experiment.augment, draws))
        loss = nn.functional.cross_entropy(
            self.network(sequences).float(), self.learn.labels[chosen], label_smoothing=config.label_smoothing
        )
        if not torch.isfinite(loss):
            raise UserError(
                f"Step {step}: the loss is not finite; go on from {self.folder.path} with --resume and a smaller "
                "--optim.learning-rate."
            )
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        return loss.detach(), rate

    def _check(self) -> None:
        """Score, keep the weights when they are the best so far, and write the last checkpoint."""
        scores = self._scores(self.select)
        for name, value in (("accuracy", scores.accuracy), ("loss", scores.loss)):
            self.writer.add_scalar(f"{self.experiment.select}/{name}", value, self.step)
        weights, about = self.network.state_dict(), to_plain(about_network(self.experiment))
        if scores.better_than(self.best[:2]):
            self.best = (scores.accuracy, scores.loss, self.step)
            self.folder.save_best(weights, about)
        state = {"optimizer": self.optimizer.state_dict(), **{name: getattr(self, name) for name in KEPT}}
        self.folder.save_last(weights, about, state)

    def _scores(self, bank: SequenceBank) -> Scores:
        return measure(self.network, bank, self.experiment.recogniser, self.experiment.data.classes)

    def _load(self) -> None:
        state = self.folder.load_last()
        self.network.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in KEPT:
            setattr(self, name, state[name])


KEPT = ("step", "best", "seconds")
"""Attributes that a checkpoint holds."""


def about_network(experiment: GestureExperiment) -> dict:
    """What a file of weights says about them."""
    data = experiment.data
    return {"recogniser": asdict(experiment.recogniser), "classes": data.classes, "joints": data.joints}


def make_optimizer(experiment: GestureExperiment, network: nn.Module) -> torch.optim.Optimizer:
    """AdamW; Riemannian Adam where some weights lie on a manifold."""
    config = experiment.optim
    if experiment.recogniser.name == "st_ts_hgr_net":
        from geoopt.optim import RiemannianAdam  # for this recogniser alone

        return RiemannianAdam(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay, stabilize=100
        )
    return torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)


def batch_of(step: int, batch: int, n: int, seed: int) -> Tensor:
    """Sequences of a step: all n in one random order after another, none left out, the same for the same seed."""
    places = torch.arange(step * batch, (step + 1) * batch)
    rounds = places // n
    orders = {
        int(k): torch.randperm(n, generator=stream("gesture order", seed, int(k))) for k in rounds.unique().tolist()
    }
    return torch.stack([orders[int(k)][place % n] for k, place in zip(rounds, places, strict=True)])
