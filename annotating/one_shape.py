"""One hand shape a subject: the median of what its frames show, and an engine whose hands all have it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from annotating.annotations import Annotations
from annotating.source import Source
from dataloader.crop import HandCrop
from predicting.engine import SURFACE, Engine, EngineAnswer
from render.hand_layer import HandLayer, HandParams

SHAPE = slice(48, 59)
"""Of a hand's 62 numbers: ten coefficients, and the size."""
HELD = ("shape", "size")
"""What refinement then leaves as it is (training/hand_fit.py)."""

Shape = Float32[np.ndarray, "11"]
"""Ten coefficients, and the size (1 = as modelled)."""


def subject_shapes(sources: Sequence[Source], found: Sequence[Annotations]) -> dict[str, Shape]:
    """Shape and size of each subject, the median of each number over its frames whose hand explains the depth.

    Over all with a hand where none does so; a subject without any is left out.
    """
    rows: dict[str, list[tuple[bool, np.ndarray]]] = {}
    for source, own in zip(sources, found, strict=True):
        for subject, seen, fits, params in zip(source.subjects, own.seen, own.fitting, own.params, strict=True):
            if seen:
                rows.setdefault(subject, []).append((bool(fits), params[SHAPE]))
    return {
        subject: np.median([shape for fits, shape in some if fits] or [shape for _, shape in some], axis=0).astype("f4")
        for subject, some in rows.items()
    }


class OneShape:
    """An engine whose hands have the shape and size that are held; pose and the middle of the joints are as read."""

    def __init__(self, engine: Engine, layer: HandLayer) -> None:
        """Args: engine: reads the crops; layer: its hand model, on the CPU."""
        self._engine, self._layer = engine, layer
        self.held: Shape | None = None
        """What the next crops' hands have; None = what was read."""

    @property
    def faces(self) -> Int[Tensor, "f 3"]:
        """Triangles over the 778 vertices of an answer."""
        return self._engine.faces

    @torch.no_grad()
    def __call__(self, crop: HandCrop) -> EngineAnswer:
        """Hands of a batch of crops; the pixel branch's joints are as read."""
        answer = self._engine(crop)
        return answer if self.held is None else self._with(answer, crop, torch.from_numpy(self.held))

    def _with(self, answer: EngineAnswer, crop: HandCrop, held: Float[Tensor, "11"]) -> EngineAnswer:
        answer = EngineAnswer(*(part.clone() for part in answer))  # an engine's tensors may be barred from use
        n = len(answer.params)
        hand = HandParams.from_vector(answer.params)
        hand = replace(hand, shape=held[:10].expand(n, 10), scale=held[10:].expand(n, 1))
        mesh = self._layer(hand.rotation, hand.pose, hand.shape)
        vertices, joints = mesh.placed(hand.scale, torch.zeros(n, 3), 1.0)
        shift = (answer.joints_mm - joints).mean(1, keepdim=True)
        hand = replace(hand, translation=crop.xyz_from_mm(shift)[:, 0])
        return EngineAnswer(answer.pixel_mm, joints + shift, vertices[:, :SURFACE] + shift, hand.vector())
