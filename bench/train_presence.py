"""Train the network that tells hands from other things (predicting/presence.py) on rendered hands and random solids.

Hands are those of the pre-training for real sensors (`pretrain-sensor`), right ones and flipped; the other things are
solids, heads and bare arms (dataloader/other_things.py), seen by the same sensors. What the layers that stay as they
are make of them is kept in memory and looked at in several rounds.

python bench/train_presence.py [--out runs/presence.safetensors]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.sides import straightness
from bench.train_sides import AVERAGE, EARLY, rate_at
from config import EXPERIMENTS, LooksConfig, SensorConfig
from dataloader.other_things import OtherThings
from dataloader.rendered import RenderedHands
from model.looks import LooksNetwork
from predicting.engine import SHIPPED
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.checkpoint import load_weights, save_weights
from util.settings import to_plain
from util.streams import stream

BATCH, DRAWN = 128, 256
"""Crops a step, half of them hands; crops drawn at once."""
ROUNDS, RATE = 4, 2e-3
"""How often each crop is looked at; the peak learning rate."""
SHIFTS_MM = (20.0, 20.0, 50.0)
"""Largest distances along each axis between a crop's centre and the hand's middle, in turn."""
NOISE = (1.0, 0.3, 1.0, 0.0)
"""Strength of the sensors' noise, in turn: some sensors are far better than the worst that hands are rendered for."""
FISTS, CLOSED = 3.0, 0.65
"""Weight of closed hands, which things look like, and how straight their fingers are at most (bench/sides.py)."""
CHECK_EVERY = 100
"""Steps between checks."""


@dataclass(frozen=True)
class Kept:
    """Crops behind the layers that stay."""

    early: Tensor
    """(n, *EARLY) bf16."""
    weight: Tensor
    """(n,) of each in the loss."""

    @staticmethod
    def drawn(n: int, hands: bool, purpose: str, network: LooksNetwork) -> "Kept":
        """n crops of hands, or of other things; every other one is flipped."""
        experiment, layer = EXPERIMENTS["pretrain-sensor"], HandLayer(load_hand_model())
        kept = Kept(torch.empty(n, *EARLY, dtype=torch.bfloat16), torch.ones(n))
        for block, start in enumerate(range(0, n, DRAWN)):
            generator, rows = stream("presence", purpose, hands, block), slice(start, start + DRAWN)
            noise = NOISE[block % len(NOISE)]
            config = replace(experiment.rendered, centre_shift_mm=SHIFTS_MM[block % len(SHIFTS_MM)], noise=noise > 0)
            drawn_by = layer, experiment.sampler, weakened(experiment.sensor, noise), config
            if hands:
                sample = RenderedHands(*drawn_by).batch(DRAWN, generator)
                assert sample.joints_mm is not None
                crop, straight = sample.crop, torch.from_numpy(straightness(sample.joints_mm.numpy()))
                kept.weight[rows] = torch.where(straight < CLOSED, FISTS, 1.0)
            else:
                crop = OtherThings(*drawn_by).batch(DRAWN, generator)
            depth = crop.depth
            depth[::2] = depth[::2].flip(-1)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                kept.early[rows] = network.early(depth).bfloat16()
            if block % 8 == 0:
                print(f"{purpose}, {'hands' if hands else 'things'}: {start + DRAWN}", flush=True)
        return kept


def weakened(sensor: SensorConfig, share: float) -> SensorConfig:
    """A sensor with a share of the noise, and of how much coarser than the crop its pixels are."""
    whole = {name: value for name, value in to_plain(sensor).items() if name not in ("coarseness", "lone")}
    coarseness = 1 + share * (sensor.coarseness - 1)
    return replace(sensor, **{name: share * value for name, value in whole.items()}, coarseness=coarseness)


@torch.inference_mode()
def measured(network: LooksNetwork, hands: Kept, things: Kept) -> dict[str, float]:
    """Shares that are told rightly at even odds and at odds where 1 in 100 hands is lost."""
    with torch.autocast("cpu", torch.bfloat16):
        yes, no = (torch.cat([network.late(part).score for part in kept.early.split(256)]) for kept in (hands, things))
    at = yes.quantile(0.01)
    loss = functional.softplus(-yes).mean() + functional.softplus(no).mean()
    return {
        "hands": float((yes > 0).float().mean()),
        "closed_hands": float((yes[hands.weight > 1] > 0).float().mean()),
        "things": float((no < 0).float().mean()),
        "things_where_99_of_100_hands_stay": float((no < at).float().mean()),
        "loss": float(loss / 2),
    }


def train(network: LooksNetwork, hands: Kept, things: Kept, held_out: Sequence[Kept], out: Path) -> None:
    """Learn, and write the averaged weights at every check."""
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    best = cast(LooksNetwork, averaged.module)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
    half = BATCH // 2
    order = [(torch.randperm(len(hands.weight)), torch.randperm(len(things.weight))) for _ in range(ROUNDS)]
    rows = [pair for a, b in order for pair in zip(a.split(half), b.split(half), strict=False)]
    sign = torch.cat([torch.ones(half), -torch.ones(half)])
    for step, (some, others) in enumerate(rows):
        for group in optimiser.param_groups:
            group["lr"] = RATE * rate_at(step, len(rows))
        x = torch.cat([hands.early[some], things.early[others]]).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            score = network.train().late(x).score
        weight = torch.cat([hands.weight[some], things.weight[others]])
        loss = (weight * functional.softplus(-sign * score)).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad()
        averaged.update_parameters(network)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == len(rows):
            found = measured(best.eval(), *held_out)
            print(json.dumps({"step": step + 1, "of": len(rows), "learned": loss.item()} | found), flush=True)
            save_weights(out, best.state_dict(), {"presence": to_plain(LooksConfig())}, half=True)


def main() -> None:
    """Draw, then learn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/presence.safetensors"), metavar="FILE")
    parser.add_argument("--crops", type=int, default=14336, metavar="N", help="hands to learn from, and as many things")
    asked = parser.parse_args()
    torch.manual_seed(0)
    network = LooksNetwork(LooksConfig()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.start_from(load_weights(SHIPPED)[0])
    network.eval()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    held_out = [Kept.drawn(1024, hands, "held out", network) for hands in (True, False)]
    hands, things = [Kept.drawn(asked.crops, are_hands, "learned", network) for are_hands in (True, False)]
    train(network, hands, things, held_out, asked.out)


if __name__ == "__main__":
    main()
