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
    """How strongly each kind of sensor noise acts on a rendered depth image (render/sensor.py).

    Each strength is an upper bound: every image draws its own, uniformly between nothing and the bound; 0 leaves a kind out.
    Millimetres hold at a range of 500 mm and grow with its square.
    """

    smoothing: float = 1.0
    """How much of the low-passed depth replaces the depth (0 to 1), inside the surface."""
    flying: float = 0.25
    """Share of the pixels along depth edges that read something between the two surfaces."""
    axial_mm: float = 1.5
    """Standard deviation of the noise along the ray, independent in each pixel."""
    wobble_mm: float = 4.0
    """Standard deviation of the depth error that varies slowly over the image."""
    quantisation_mm: float = 2.5
    """Step between two depth readings."""
    erosion: float = 0.7
    """Share of the pixels on the rim of a surface, before a deeper one, that are lost."""
    shadow: float = 0.5
    """Share of the pixels at the foot of a depth edge, behind a nearer surface, that are lost."""
    grazing: float = 0.8
    """Share of the pixels lost where the surface is seen at 75 degrees or more; none up to 55 degrees."""
    jitter_px: float = 0.8
    """Largest sideways offset of a reading, sensor pixels."""
    coarseness: float = 3.0
    """Largest size of a sensor pixel, crop samples (1 or more; below that one sample is one sensor pixel)."""
    speckle: float = 0.02
    """Share of single pixels lost anywhere."""
    holes: float = 0.04
    """Share of the surface lost in small connected holes."""
    lone: float = 1.0
    """Share of images whose pixels without support (fewer than 3 of 8 neighbours within 15 mm) are dropped."""


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
    """One run: what is done, on which data, with which network.

    Every path among the settings is something the run reads; a path that does not exist is refused at once.
    """

    name: str = "demo"
    """Its name, which also names the default run folder."""
    about: str = ""
    """What it is for, in a few words; `--help` shows them."""
    seed: int = 0
    """Seed of every random draw of the run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; auto takes a GPU where there is one."""
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


_ALL = (
    Experiment(name="demo", about="a short self-supervision on simulated frames with known truth, before and after"),
    Experiment(name="smoke", about="every phase on tiny settings, for the tests"),
    Experiment(name="pretrain-compact", about="the compact network on rendered hands", phase="pretrain"),
    Experiment(name="shrec-train", about="self-supervision on SHREC'17; needs --data.root"),
    Experiment(name="shrec-control", about="as long on rendered hands alone, to compare with; needs --data.root"),
)

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in _ALL}
"""The named experiments: the first word after `python train_render.py`."""

DEFAULT = "demo"
"""The experiment that `python train_render.py` runs: edit this line to choose another."""
