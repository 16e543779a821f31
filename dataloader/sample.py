"""What a data source hands to training and test: a batch of crops and whatever is known about them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dataloader.camera import moved
from dataloader.crop import HandCrop
from render.hand_layer import HandParams


@dataclass(frozen=True)
class HandSample:
    """A batch of hand crops; labels are None where nobody knows them."""

    crop: HandCrop
    """Depth crops with their geometry."""
    joints_mm: Float[Tensor, "b joints 3"] | None = None
    """Labelled joints, of `joint_set`, in the crop's camera frame."""
    vertices_mm: Float[Tensor, "b 779 3"] | None = None
    """Hand surface in the crop's camera frame."""
    params: HandParams | None = None
    """The hand's 62 numbers, in the crop's xyz frame."""
    observed: Bool[Tensor, "b 1 s s"] | None = None
    """Samples on the hand itself (no forearm, no background), fixed before any prediction; never augmented."""
    frames: tuple[str, ...] = ()
    """Name of each frame."""
    joint_set: str = "mano21"
    """Joint set of the labels (`util.joints.JOINT_SETS`)."""

    def __len__(self) -> int:
        return self.crop.depth.shape[0]

    def select(self, indices: Int[Tensor, " n"]) -> "HandSample":
        """Samples `indices` of the batch."""
        return HandSample(
            self.crop.select(indices),
            None if self.joints_mm is None else self.joints_mm[indices],
            None if self.vertices_mm is None else self.vertices_mm[indices],
            None if self.params is None else self.params[indices],
            None if self.observed is None else self.observed[indices],
            tuple(self.frames[int(i)] for i in indices) if self.frames else (),
            self.joint_set,
        )

    def to(self, target: torch.device) -> "HandSample":
        """On another device."""
        return self.each(partial(moved, target=target))

    def pin_memory(self) -> "HandSample":
        """In memory that a GPU reads by itself; a data loader asks for it by this name."""
        return self.each(Tensor.pin_memory)

    def each(self, change: Callable[[Tensor], Tensor]) -> "HandSample":
        """With every tensor changed."""
        return HandSample(
            self.crop.each(change),
            None if self.joints_mm is None else change(self.joints_mm),
            None if self.vertices_mm is None else change(self.vertices_mm),
            None if self.params is None else HandParams.from_vector(change(self.params.vector())),
            None if self.observed is None else change(self.observed),
            self.frames,
            self.joint_set,
        )
