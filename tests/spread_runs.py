"""Short runs of every phase, in as many processes as torchrun starts: `torchrun ... tests/spread_runs.py FOLDER PARTS`.

PARTS: into how many parts each process cuts what it has of a batch. Each run leaves its folder; TensorBoard has the
losses of every step. What synchronised normalisation says of a batch goes to norms.npz.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import EXPERIMENTS, Experiment

STEPS, FEW = 20, 2
"""Steps of the runs whose losses may drift apart, and of the others."""
SMOKE = EXPERIMENTS["smoke"]
WEIGHTS = Path(__file__).resolve().parents[1] / "model" / "weights" / "compact.safetensors"


def experiments(parts: int) -> dict[str, Experiment]:
    """By name."""
    optim = replace(
        SMOKE.optim, steps=STEPS, log_every=1, check_every=STEPS, check_frames=4, final_frames=4, accumulate=parts
    )
    few = replace(optim, steps=FEW, check_every=FEW)
    fp32 = replace(SMOKE.network, precision="fp32")
    demo = replace(SMOKE.demo, train_frames=12, test_frames=6)
    base = replace(SMOKE, device="cpu", network=fp32, optim=optim, first=None, demo=demo, pictured=1)
    fitted = replace(base.fitted, frames=8, steps=1, surface_mm=1e3, iou=0.0)
    small = replace(SMOKE.transfer, truth_frames=4)
    return {
        "self": base,
        "pretrain": replace(base, phase="pretrain", optim=replace(few, first_stage_steps=1)),
        "fitted": replace(base, source="fitted", fitted=fitted, optim=few),
        "transfer": replace(base, phase="transfer", transfer=small, optim=few),
        "test": replace(base, phase="test", start=WEIGHTS, demo=replace(demo, test_frames=70)),
    }


def norms(folder: Path) -> None:
    """A batch of 8 through synchronised normalisation, half of it in each of two processes, and its gradients."""
    import numpy as np
    import torch

    from model.synced_norm import with_synced_norms
    from util.processes import first_only, joined, rank, summed, world

    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU())
    with_synced_norms(network)
    batch, wanted = 5 + 3 * torch.randn(8, 2, 6, 6), torch.randn(8, 3, 4, 4)
    own = slice(8 // world() * rank(), 8 // world() * (rank() + 1))
    answer = network(batch[own])
    ((answer - wanted[own]) ** 2).sum().backward()
    found = {"answer": torch.cat(joined(answer.detach()))}
    found |= {
        f"gradient {name}": summed(p.grad.clone()) for name, p in network.named_parameters() if p.grad is not None
    }
    found |= dict(network.named_buffers())
    first_only(lambda: np.savez(folder / "norms.npz", **{name: value.numpy() for name, value in found.items()}))  # type: ignore[arg-type]


def main(folder: Path, parts: int) -> None:
    """Run them one after another."""
    from training.run import run

    for name, experiment in experiments(parts).items():
        run(experiment, folder / name)
    norms(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
