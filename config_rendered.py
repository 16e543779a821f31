"""The part of config.py about rendered hands: which are drawn, how they are placed, what disturbs them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class SamplerConfig:
    """Which hands are drawn (render/sampler.py)."""

    paths: Literal["all", "pretrain", "target"] = "pretrain"
    """Which paths between named postures are used; pretrain and target share none (render/postures.py, path_split)."""
    shapes: Literal["all", "pretrain", "target"] = "pretrain"
    """Which side of the space of hand shapes is used; pretrain and target share none (render/shapes.py)."""
    pose_files: Path | None = None
    """Take poses, views and shapes from parameter files FOLDER/NAME-{pose,glb,shape,...}.txt, given as FOLDER/NAME."""
    free_share: float = 0.35
    """Share of hands whose fingers are drawn freely within anatomy; the others lie on a path between named postures."""
    named_share: float = 0.3
    """Share of the hands on paths that stand at one of its two ends."""
    timing_sd: float = 0.15
    """How far fingers run ahead of or behind each other on a path (1 = its whole length)."""
    flexion_noise_deg: float = 5.0
    """Noise on every flexion; neighbouring fingers share part of it."""
    spread_noise_deg: float = 3.0
    """Noise on the spread of every finger."""
    twist_noise_deg: float = 2.0
    """Noise on the twist of every joint, and on the sideways angle of hinge joints."""
    closed_share: float = 0.3
    """Share of hands whose fingers are drawn together, side by side, whatever they do otherwise."""
    touch_mm: float = 2.0
    """How deep collision spheres may overlap, beyond what they do in the rest pose: skin gives way."""
    shape_sd: tuple[float, ...] = (0.0, 0.6, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    """Spread of each shape coefficient; 0 is the open hand's global scale, left to `scale`, 1 its length of fingers."""
    shape_limit: float = 2.0
    """Shape coefficients end at this many spreads."""
    scale_mean: float = 1.08
    """Mean size of a hand against the template (189 mm from wrist to middle tip; real hands measured 205)."""
    scale_sd: float = 0.13
    """Spread of that size."""
    scale_range: tuple[float, float] = (0.8, 1.3)
    """Smallest and largest size."""
    palm_share: float = 0.35
    """Share of views with the palm towards the camera."""
    back_share: float = 0.35
    """Share of views with the back of the hand towards the camera; the rest sees any side, edges included."""
    side_sd_deg: float = 35.0
    """Spread of those views about straight palm or back."""
    tilt_mean_deg: float = 12.0
    """How far fingers point at the camera on average (90: straight at it)."""
    tilt_sd_deg: float = 35.0
    """Spread of that tilt."""
    tilt_range_deg: tuple[float, float] = (-50.0, 90.0)
    """Its limits: below 0 the forearm comes towards the camera, which few sensors see."""
    upright_share: float = 0.35
    """Share of hands with the fingers roughly upwards in the image; the others are turned by any angle."""
    upright_sd_deg: float = 35.0
    """Spread of the turn of those hands."""


@dataclass(frozen=True)
class SensorConfig:
    """How strongly each kind of sensor noise acts on a rendered depth image (render/sensor.py).

    Each strength is an upper bound: every image draws its own, uniformly between nothing and the bound; 0 leaves a kind
    out. Millimetres hold at a range of 500 mm and grow with its square.
    """

    smoothing: float = 1.0
    """How much of the low-passed depth replaces the depth (0 to 1), inside the surface."""
    flying: float = 0.15
    """Share of the pixels along depth edges that read something between the two surfaces."""
    axial_mm: float = 1.2
    """Standard deviation of the noise along the ray, independent in each pixel."""
    wobble_mm: float = 2.5
    """Standard deviation of the depth error that varies slowly over the image."""
    quantisation_mm: float = 2.0
    """Step between two depth readings."""
    erosion: float = 0.25
    """Share of the pixels on the rim of a surface, before a deeper one, that are lost."""
    shadow: float = 0.4
    """Share of the pixels at the foot of a depth edge, behind a nearer surface, that are lost."""
    grazing: float = 0.5
    """Share of the pixels lost where the surface is seen at 75 degrees or more; none up to 55 degrees."""
    jitter_px: float = 0.6
    """Largest sideways offset of a reading, sensor pixels."""
    coarseness: float = 2.6
    """Largest size of a sensor pixel, crop samples (1 or more; below that one sample is one sensor pixel)."""
    speckle: float = 0.003
    """Share of single pixels lost anywhere."""
    holes: float = 0.008
    """Share of the surface lost in small connected holes."""
    lone: float = 1.0
    """Share of images whose pixels without support (fewer than 3 of 8 neighbours within 15 mm) are dropped."""


@dataclass(frozen=True)
class ForearmConfig:
    """Forearms on rendered hands (render/forearm.py); pairs are ranges, drawn uniformly."""

    chance: float = 0.9
    """Share of hands that have one."""
    length_mm: tuple[float, float] = (20.0, 250.0)
    """Length along the arm."""
    width: tuple[float, float] = (0.95, 1.35)
    """Half width across the wrist, in mean radii of the wrist ring."""
    thickness: tuple[float, float] = (0.75, 1.1)
    """Half width through the wrist, in mean radii of the wrist ring."""
    taper: tuple[float, float] = (-0.02, 0.2)
    """Growth of the section per 100 mm towards the elbow."""
    flexion_deg: float = 25.0
    """Standard deviation of the wrist's flexion against the rest pose (cut at twice that)."""
    deviation_deg: float = 10.0
    """Standard deviation of its sideways bend (cut likewise)."""
    sleeve: float = 0.35
    """Share of forearms in a sleeve."""
    sleeve_at_mm: tuple[float, float] = (15.0, 120.0)
    """Distance of the cuff from the wrist."""
    sleeve_width: tuple[float, float] = (1.08, 1.5)
    """Size of the sleeve's section against the arm's."""


@dataclass(frozen=True)
class OccluderConfig:
    """What hides parts of rendered hands (render/occluders.py); pairs are ranges, drawn uniformly."""

    spheres_chance: float = 0.15
    """Share of images in which spheres near joints are erased to background."""
    spheres: tuple[int, int] = (3, 9)
    """How many spheres (Ren et al. 2022)."""
    sphere_offset: float = 0.15
    """Largest distance of a sphere's centre from its joint along each axis, half cubes."""
    sphere_radius: float = 0.3
    """Largest radius, half cubes."""
    box_chance: float = 0.5
    """Share of images cut by an upright box around the joints, as data sets with stored hand boxes are."""
    box_margin_mm: tuple[float, float] = (-4.0, 35.0)
    """Room between the joints and each side of the box."""
    object_chance: float = 0.1
    """Share of images with something else at one side of the view."""


@dataclass(frozen=True)
class RenderedConfig:
    """Placement of rendered hands in front of a camera (dataloader/rendered.py); pairs are ranges, drawn uniformly."""

    size: int = 128
    """Side length of the crop, samples."""
    cube_mm: float = 250.0
    """Side length of the cube around a hand, before scaling."""
    cube_scale: tuple[float, float] = (0.8, 1.2)
    """Factor on the cube."""
    centre_shift_mm: float = 20.0
    """Largest distance along each axis between the crop's centre and the middle of the hand's visible surface."""
    range_mm: tuple[float, float] = (300.0, 1000.0)
    """Distance of the hand along the optical axis."""
    focal_px: tuple[float, float] = (240.0, 600.0)
    """Focal length of the camera."""
    aside_deg: float = 12.0
    """Largest angle between the optical axis and the line to the hand, horizontally and vertically."""
    noise: bool = True
    """Whether images go through the sensor noise."""
    forearm: ForearmConfig = field(default_factory=ForearmConfig)
    """Forearms."""
    occluders: OccluderConfig = field(default_factory=OccluderConfig)
    """What hides parts of hands."""


@dataclass(frozen=True)
class StructuredLightConfig:
    """The demo's sensor, a small and poor structured-light camera (render/structured_light.py)."""

    width: int = 320
    """Pixels a row."""
    height: int = 240
    """Rows."""
    focal_px: float = 285.0
    """Focal length."""
    baseline_mm: float = 75.0
    """Distance from the camera to the projector on its right."""
    steps_per_px: float = 8.0
    """Disparity steps a pixel: at 600 mm one step is 2.1 mm of depth."""
    error_px: float = 0.2
    """Standard deviation of a disparity."""
    window_px: int = 7
    """Width of the matching window: edges wander by up to half of it."""
    block_px: int = 5
    """Side of the blocks that share a match."""
    gradient_limit: float = 0.5
    """Largest change of disparity from pixel to pixel at which the pattern is still recognised."""
    failing: float = 0.08
    """Share of blocks without a match."""


@dataclass(frozen=True)
class DemoConfig:
    """The simulated-sensor data set (dataloader/demo.py); nothing but the hand model is shared with pre-training."""

    train_frames: int = 3000
    """Frames to learn from, without labels."""
    test_frames: int = 500
    """Frames to score on."""
    seed: int = 0
    """Which frames: the same seed makes the same frames."""
    size: int = 128
    """Side length of the crops served, samples."""
    cube_mm: float = 250.0
    """Side length of the cube around a hand."""
    range_mm: tuple[float, float] = (480.0, 850.0)
    """Distance of the hand along the optical axis."""
    aside_deg: float = 7.0
    """Largest angle between the optical axis and the line to the hand, horizontally and vertically."""
    window_px: int = 192
    """Side of the part of the image, around the hand, that is simulated."""
    box_margin_px: float = 10.0
    """Largest distance from the hand to each side of the box that comes with a frame."""
    least_pixels: int = 300
    """Frames with fewer pixels on the hand are made anew."""
    sampler: SamplerConfig = SamplerConfig(
        paths="target", shapes="target", free_share=0.0, named_share=0.0, tilt_range_deg=(-15.0, 80.0)
    )
    """Hands drawn: paths between postures and shapes that pre-training leaves out; arms come from behind the hand."""
    forearm: ForearmConfig = ForearmConfig(
        chance=1.0, length_mm=(255.0, 330.0), width=(0.8, 0.94), thickness=(0.62, 0.74), taper=(0.21, 0.32), sleeve=0.0
    )
    """Forearms: longer and slimmer than any of pre-training's."""
    sensor: StructuredLightConfig = field(default_factory=StructuredLightConfig)
    """How the sensor works and errs."""
