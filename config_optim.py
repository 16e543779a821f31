"""The part of config.py about optimisation: steps, batches, schedule, how often a run is looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimConfig:
    """Optimisation of a phase (training/loop.py)."""

    steps: int = 1000
    """Optimiser steps."""
    batch: int = 32
    """Rendered hands a step."""
    real_batch: int = 32
    """Real crops a step (self-supervision only)."""
    accumulate: int = 1
    """Parts of a batch that are taken one after another before the weights move: so much less memory is needed."""
    sync_batch_norm: bool = False
    """Batch normalisation by what is in all processes instead of each one's own part."""
    workers: int = 0
    """Processes that draw rendered hands ahead of training; for machines with a GPU and many cores."""
    draw: Literal["cpu", "device"] = "cpu"
    """Where rendered hands are drawn in pre-training. device: on the GPU that trains, without processes, several times
    as fast; its random numbers are others than a CPU's."""
    compile: bool = False
    """Convolutions go through torch.compile; on a CPU that takes a C++ compiler, and a minute or more at the start."""
    cuda_graphs: bool = False
    """Compiled convolutions are replayed as CUDA graphs, for GPUs that wait for Python; turns compile on."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    schedule: Literal["cosine", "step"] = "cosine"
    """cosine: down to final_rate; step: times 0.1 every decay_every steps, as published."""
    final_rate: float = 0.01
    """Cosine: the last learning rate as a share of the peak."""
    decay_every: int = 100_000
    """Step schedule: steps between decays."""
    warmup: int = 200
    """Steps over which the learning rate rises linearly."""
    clip: float = 5.0
    """Largest gradient norm."""
    skip: int = 0
    """Steps of a run that may be left out because a loss is not finite; with the next one it stops."""
    average: float = 0.998
    """Decay of the moving average of weights that is tested and saved."""
    first_stage_steps: int = 0
    """Pre-training: so many steps train the first stage alone, nearly twice as fast; the second starts on good maps."""
    log_every: int = 50
    """Steps between TensorBoard scalars."""
    check_every: int = 500
    """Steps between checkpoints, held-out scores and TensorBoard images."""
    check_frames: int = 256
    """Held-out frames scored at a check."""
    final_frames: int = 2048
    """Held-out rendered hands scored at the end."""
