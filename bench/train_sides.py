"""Train the network that tells right hands from left ones (model/looks.py) on rendered hands.

Hands are those of the pre-training for real sensors (`pretrain-sensor`); all are right ones, and flipped they are left
ones. Those of a phase are drawn once; what the layers that stay as they are make of them is kept in a file and looked
at in several rounds. In the second phase half of the hands lie far from the middle of the crop, as where the hand
finder takes a forearm for part of the hand. Joints are learned along with the side: where the thumb is, and which way
fingers bend.

python bench/train_sides.py [--out runs/side.safetensors] [--start FILE --phases 2]
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.sides import HALF_OPEN, straightness
from config import EXPERIMENTS, LooksConfig
from dataloader.rendered import RenderedHands
from model.looks import LooksNetwork
from predicting.engine import SHIPPED
from predicting.looks import load_looks
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.checkpoint import load_weights, save_weights
from util.settings import to_plain
from util.streams import stream

BATCH = 64
"""Hands a step, each as it is and flipped."""
DRAWN = 256
"""Hands drawn at once."""
EARLY = (64, 16, 16)
"""What the layers that stay make of a crop."""
WARMUP, AVERAGE = 50, 0.99
"""Steps until the peak learning rate is reached, decay of the averaged weights."""
JOINTS = 5.0
"""Weight of the joints beside the side."""
CHECK_EVERY, CHECKED = 160, 1024
"""Steps between checks, held-out hands."""


@dataclass(frozen=True)
class Phase:
    """A part of training, with hands of its own."""

    name: str
    shifts_mm: tuple[float, ...]
    """Largest distances along each axis between the crop's centre and the hand's middle, in turn."""
    hands: int
    rounds: int
    """How often each hand is looked at."""
    rate: float
    """Peak learning rate."""


PHASES = {"1": Phase("near", (20.0,), 32768, 4, 2e-3), "2": Phase("far", (20.0, 60.0), 24576, 2, 1e-3)}


class Kept:
    """Hands, as they are and flipped, behind the layers that stay; on disk, in bf16."""

    def __init__(self, file: Path, hands: int) -> None:
        values = hands * 2 * math.prod(EARLY)
        self.early = torch.from_file(str(file), shared=True, size=values, dtype=torch.bfloat16).view(hands, 2, *EARLY)
        self.joints_uvd = torch.empty(hands, 21, 3)
        self.openness = np.empty(hands)

    def fill(self, network: LooksNetwork, shifts_mm: Sequence[float], purpose: str) -> "Kept":
        """Draw all of them; other ones for each purpose."""
        experiment, layer = EXPERIMENTS["pretrain-sensor"], HandLayer(load_hand_model())
        rendered = [
            RenderedHands(
                layer, experiment.sampler, experiment.sensor, replace(experiment.rendered, centre_shift_mm=mm)
            )
            for mm in shifts_mm
        ]
        began = time.monotonic()
        for start in range(0, len(self.early), DRAWN):
            block = start // DRAWN
            sample = rendered[block % len(rendered)].batch(DRAWN, stream("sides", purpose, block))
            assert sample.joints_mm is not None
            rows = slice(start, start + DRAWN)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                for flipped, depth in enumerate((sample.crop.depth, sample.crop.depth.flip(-1))):
                    self.early[rows, flipped] = network.early(depth).bfloat16()
            self.joints_uvd[rows] = sample.crop.uvd_from_mm(sample.joints_mm)
            self.openness[rows] = straightness(sample.joints_mm.numpy())
            if start % (16 * DRAWN) == 0:
                print(f"{purpose}: {start + DRAWN} hands drawn, {_spent(began)}", flush=True)
        return self


def _spent(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s, {time.process_time():.0f} s of CPU in all"


def losses(network: LooksNetwork, early: Tensor, joints_uvd: Tensor) -> dict[str, Tensor]:
    """Of the side (logistic) and of the joints, for right hands; joints are learned off the flipped ones too."""
    n = len(early)
    with torch.autocast("cpu", torch.bfloat16):
        found = network.late(early.transpose(0, 1).flatten(0, 1).to(memory_format=torch.channels_last))
    wanted = torch.cat([joints_uvd, joints_uvd * torch.tensor([-1.0, 1.0, 1.0])])
    return {
        "side": functional.softplus(found.score[n:] - found.score[:n]).mean(),
        "joints": JOINTS * functional.smooth_l1_loss(found.joints_uvd, wanted, beta=0.05),
    }


def rate_at(step: int, steps: int) -> float:
    """The learning rate's share of its peak: a linear rise, then half a cosine."""
    return min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-3


@torch.inference_mode()
def shares(network: LooksNetwork, held_out: Kept) -> dict[str, float]:
    """How often the side is right on hands that were not learned from, and how often where it is sure."""
    parts = held_out.early.split(BATCH)
    with torch.autocast("cpu", torch.bfloat16):
        odds = torch.cat([network.late(part[:, 0]).score - network.late(part[:, 1]).score for part in parts]).numpy()
    is_open, sure = held_out.openness > HALF_OPEN, np.abs(odds) > 2
    found = {"all": odds > 0, "open": odds[is_open] > 0, "sure": sure, "right_where_sure": odds[sure] > 0}
    return {name: float(share.mean()) for name, share in found.items()} | {"loss": float(np.logaddexp(0, -odds).mean())}


def train(network: LooksNetwork, phase: Phase, kept: Kept, held_out: Kept, out: Path) -> LooksNetwork:
    """One phase; the averaged weights, which are written at every check."""
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    best = cast(LooksNetwork, averaged.module)
    optimiser = torch.optim.AdamW(network.parameters(), phase.rate, weight_decay=0.05)
    began, sums = time.monotonic(), dict[str, float]()
    order = torch.cat([torch.randperm(phase.hands).view(-1, BATCH).sort(1).values for _ in range(phase.rounds)])
    for step, rows in enumerate(order):
        for group in optimiser.param_groups:
            group["lr"] = phase.rate * rate_at(step, len(order))
        terms = losses(network.train(), kept.early[rows], kept.joints_uvd[rows])
        sum(terms.values(), torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad()
        averaged.update_parameters(network)
        now = {name: term.item() for name, term in terms.items()}
        sums = {name: 0.95 * sums.get(name, value) + 0.05 * value for name, value in now.items()}
        if (done := step + 1) % 40 == 0:
            print(f"{done}: " + ", ".join(f"{k} {v:.3f}" for k, v in sums.items()) + f", {_spent(began)}", flush=True)
        if done % CHECK_EVERY == 0 or done == len(order):
            print(json.dumps({"step": done} | shares(best.eval(), held_out)), flush=True)
            save_weights(out, best.state_dict(), {"side": to_plain(LooksConfig())}, half=True)
    return best


def main() -> None:
    """Train in two phases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/side.safetensors"), metavar="FILE")
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to go on from")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    asked = parser.parse_args()
    torch.manual_seed(0)
    network = LooksNetwork(LooksConfig()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.start_from(load_weights(SHIPPED)[0])
    if asked.start is not None:
        network.load_state_dict(load_looks(asked.start, "side").state_dict())
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    files = [asked.out.with_suffix(f".{what}") for what in ("kept", "held-out")]  # of 2.2 GB and 67 MB at most
    for phase in (PHASES[name] for name in asked.phases):
        network.eval()
        held_out = Kept(files[1], CHECKED).fill(network, phase.shifts_mm, f"held out, {phase.name}")
        kept = Kept(files[0], phase.hands).fill(network, phase.shifts_mm, phase.name)
        network = train(network, phase, kept, held_out, asked.out)
        for file in files:
            file.unlink()


if __name__ == "__main__":
    main()
