"""Every setting of the project: frozen dataclasses, one dict of named experiments, and one line to choose the default.

`python train_render.py` runs DEFAULT; `python train_render.py NAME --optim.steps 500` runs another one with overrides.
This module imports nothing of the project, so that every room can import it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class SamplerConfig:
    """Which hands are drawn (render/sampler.py)."""

    scale_range: tuple[float, float] = (0.8, 1.3)
    """Overall size of a hand against the template, drawn uniformly."""


@dataclass(frozen=True)
class SensorConfig:
    """How strongly each kind of sensor noise acts on a rendered depth image (render/sensor.py)."""


@dataclass(frozen=True)
class RenderedConfig:
    """Placement of rendered hands in front of a camera (dataloader/rendered.py)."""


@dataclass(frozen=True)
class DemoConfig:
    """The simulated-sensor data set (dataloader/demo.py)."""


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of real crops (dataloader/augment.py)."""


@dataclass(frozen=True)
class DataConfig:
    """Which real (or simulated-real) frames are read (dataloader/)."""

    name: Literal["demo", "shrec"] = "demo"
    """The data set."""
    root: Path | None = None
    """Its folder; not needed for demo."""


@dataclass(frozen=True)
class Experiment:
    """One run: what is done, on which data, with which network."""

    phase: Literal["pretrain", "transfer", "train", "test"] = "train"
    """What the run does."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """Hands drawn."""
    sensor: SensorConfig = field(default_factory=SensorConfig)
    """Noise of the rendered images."""
    rendered: RenderedConfig = field(default_factory=RenderedConfig)
    """Placement of rendered hands."""
    demo: DemoConfig = field(default_factory=DemoConfig)
    """The simulated sensor."""
    data: DataConfig = field(default_factory=DataConfig)
    """Frames to learn from and to test on."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of those frames."""


EXPERIMENTS: dict[str, Experiment] = {}

DEFAULT = "demo"
"""The experiment that `python train_render.py` runs: edit this line to choose another."""
