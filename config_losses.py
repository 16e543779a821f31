"""Settings of losses: their weights on labelled hands and on crops that nobody labelled (training/)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SupervisedConfig:
    """Weights of the losses on rendered hands (training/supervised.py) and labelled frames (training/labelled.py)."""

    branches: Literal["both", "pixel"] = "both"
    """Labelled frames: which branches learn; the pixel branch alone, in one stage, is adaptive weighting regression."""
    maps: float = 10.0
    """Offset and closeness maps; published 1 (as a mean over all cells, ours over foreground cells)."""
    joints: float = 100.0
    """Pixel joints (uvd) and model joints (xyz); published 100 each."""
    vertices: float = 100.0
    """Surface (xyz); published 100."""
    rotations: float = 20.0
    """Joint rotations, as matrices; published 0."""
    shape: float = 1e-4
    """Mean squared shape coefficient; published 1000 (which keeps hands small: real ones vary)."""
    scale: float = 0.1
    """Negative scale; published 0.1."""


@dataclass(frozen=True)
class UnlabelledConfig:
    """Weights and settings of the losses on real crops (training/unlabelled.py, training/two_stage.py)."""

    model_to_data: float = 0.0
    """Depth difference wherever the observed or the rendered hand is; published 0.1."""
    common_depth: float = 4.0
    """Depth difference where both are; published 0."""
    silhouette: float = 8.0
    """Surface outside the observed silhouette; published 0."""
    data_to_model: float = 8.0
    """Observed points to the surface; published 1, with squared distances."""
    parts: float = 6.0
    """Each finger bone's points to that bone's surface; published 1, with squared distances."""
    collision: float = 10.0
    """Penetration of the hand's spheres; published 1."""
    pixel_to_model: float = 50.0
    """Model branch towards the pixel branch's joints; published 100."""
    model_to_pixel: float = 50.0
    """Pixel branch towards the model branch's joints, where the model fits; published 100."""
    pixel_outside: float = 1.0
    """Joints of the pixel branch outside the observed silhouette; published 0."""
    pose_prior: float = 0.02
    """Pose unlike those of rendered hands (Mahalanobis); published 0."""
    shape_prior: float = 0.02
    """Mean squared shape coefficient; published 0."""
    teacher_pixel: float = 0.0
    """Pixel branch towards what averaged weights see in the crop before its augmentation; published 0."""
    teacher_surface: float = 0.0
    """Model branch's surface towards the same; published 0."""
    teach_maps: float = 1.0
    """Stage 2 teaches stage 1: maps; published 1."""
    teach_pixel: float = 50.0
    """Stage 2 teaches stage 1: pixel joints; published 100."""
    teach_model: float = 50.0
    """Stage 2 teaches stage 1: model joints towards stage 2's pixel joints; published 100."""
    teach_vertices: float = 50.0
    """Stage 2 teaches stage 1: surface; published 100."""
    robust: bool = True
    """Distances to the surface by a rounded root instead of squared."""
    points: int = 768
    """Points drawn from an observed hand; published 2048."""
    fit_depth: float = 0.04
    """The model teaches the pixels where its depth differs by less than this (half cubes)."""
    fit_squared: float = 1e-3
    """... and its squared distance to all points, and to a joint's own part's, is below this."""
    fit_iou: float = 0.6
    """... and its silhouette overlaps the observed one by more than this; published 0."""
    fit_outside: float = 0.06
    """... and the joint is no further outside the silhouette than this; published: not asked."""
    teach_empty_parts: bool = False
    """Whether joints of a part without observed points are taught; published True."""
    looseness: float = 2.0
    """Factor on those distances at the start, falling to 1 halfway through."""
    ramp: int = 200
    """Steps over which these terms come in."""
    prior_floor: float = 0.15
    """Floor of the pose prior's standard deviations, radians."""


@dataclass(frozen=True)
class FittedConfig:
    """Learning from hands that were fitted to frames (training/fitted.py)."""

    frames: int = 4000
    """Frames of the training split that a hand is fitted to, spread over it."""
    steps: int = 30
    """Optimisation steps of each hand."""
    surface_mm: float = 3.0
    """A hand explains its frame when observed points lie nearer to its surface than this on average ..."""
    iou: float = 0.6
    """... and its silhouette overlaps the observed one by more than this."""
    weight: float = 1.0
    """Weight of what is learned from them, beside rendered hands."""
