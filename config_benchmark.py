"""The part of config.py about the benchmark: what its target frames show, and the sensor that sees them."""

from dataclasses import dataclass, field

from config_rendered import DemoConfig, ForearmConfig, SamplerConfig, StructuredLightConfig


@dataclass(frozen=True)
class OpticsConfig:
    """What poor optics add to a sensor's errors (render/poor_optics.py); each frame draws from the ranges."""

    blur_px: tuple[float, float] = (0.4, 1.1)
    """Spread of the lens: depths of a surface mix across it."""
    mixed_mm: float = 60.0
    """Surfaces further apart than this do not mix."""
    stray: tuple[float, float] = (0.0, 0.06)
    """Multi-path: share of the light that comes by way of the surroundings, and pulls depth towards theirs."""
    stray_px: float = 6.0
    """Spread of that light."""
    grazing: tuple[float, float] = (0.0, 0.2)
    """Share of the pixels lost where a surface is seen at an angle past the second of grazing_deg."""
    grazing_deg: tuple[float, float] = (50.0, 78.0)
    """Angles at which such losses begin and are complete."""
    flying: tuple[float, float] = (0.0, 0.1)
    """Share of the pixels along depth edges that read something between the two surfaces."""
    flying_mm: float = 70.0
    """How far behind the nearer surface such a reading lies at most."""


@dataclass(frozen=True)
class DarkConfig:
    """A thing before the hand that returns no light: a pen, a cable, a strap (render/dark_things.py)."""

    chance: float = 0.4
    """Share of frames with one."""
    width_mm: tuple[float, float] = (6.0, 20.0)
    """Its width."""
    length_mm: tuple[float, float] = (60.0, 260.0)
    """Its length."""


@dataclass(frozen=True)
class BenchmarkConfig(DemoConfig):
    """The benchmark's target frames (dataloader/datasets/benchmark.py); fixed, so that rows stay comparable."""

    train_frames: int = 20_000
    """Frames to learn from, without labels but for the supervised rows."""
    test_frames: int = 2000
    """Frames to score on."""
    range_mm: tuple[float, float] = (450.0, 900.0)
    """Distance of the hand along the optical axis."""
    box_margin_px: float = 12.0
    """Largest distance from the hand to each side of the box that comes with a frame."""
    sampler: SamplerConfig = field(
        default_factory=lambda: SamplerConfig(
            paths="target", shapes="target", free_share=0.0, named_share=0.0, tilt_range_deg=(-20.0, 80.0)
        )
    )
    """Hands drawn: paths between postures and shapes that pre-training leaves out."""
    forearm: ForearmConfig = field(
        default_factory=lambda: ForearmConfig(
            chance=1.0,
            length_mm=(255.0, 330.0),
            width=(0.8, 0.94),
            thickness=(0.62, 0.74),
            taper=(0.21, 0.32),
            sleeve=0.4,
        )
    )
    """Forearms: longer and slimmer than any of pre-training's, bare or in sleeves."""
    sensor: StructuredLightConfig = field(
        default_factory=lambda: StructuredLightConfig(
            steps_per_px=25.0, error_px=0.04, window_px=3, block_px=6, gradient_limit=0.6, failing=0.01
        )
    )
    """How the sensor works and errs: finer steps than the demo's, blocks that fail as a whole."""
    optics: OpticsConfig = field(default_factory=OpticsConfig)
    """What its optics add."""
    dark: DarkConfig = field(default_factory=DarkConfig)
    """What hides parts of hands."""
