"""Short runs of every phase, in as many processes as torchrun starts: `torchrun ... tests/spread_runs.py FOLDER PARTS`.

Under torchrun the batch of each step is cut into as many parts as there are processes; PARTS says into how many a
process cuts what it has. Each run leaves its folder; TensorBoard has the losses of every step.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import EXPERIMENTS, Experiment

STEPS = 20
SMOKE = EXPERIMENTS["smoke"]


def experiments(parts: int, steps: int = STEPS) -> dict[str, Experiment]:
    """By name; each ends with a step of its own number, so that all are checked."""
    optim = replace(
        SMOKE.optim, steps=steps, batch=4, real_batch=4, log_every=1, check_every=10, warmup=4, accumulate=parts
    )
    base = replace(SMOKE, device="cpu", network=replace(SMOKE.network, precision="fp32"), optim=optim, pictured=2)
    start = replace(base, start=Path(__file__).resolve().parents[1] / "model" / "weights" / "compact.safetensors")
    few = replace(start, optim=replace(optim, steps=steps // 4))
    return {
        "pretrain": replace(base, phase="pretrain", optim=replace(optim, first_stage_steps=5)),
        "self": replace(base, first=None),
        "labelled": replace(base, first=None, source="labelled"),
        "fitted": replace(
            few, source="fitted", fitted=replace(few.fitted, frames=8, steps=2, surface_mm=60.0, iou=0.0)
        ),
        "transfer": replace(base, phase="transfer"),
        "test": replace(start, phase="test"),
    }


def main(folder: Path, parts: int, names: list[str]) -> None:
    """Run them one after another."""
    from training.run import run

    for name, experiment in experiments(parts).items():
        if not names or name in names:
            run(experiment, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
