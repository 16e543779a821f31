"""Predicted hands fitted to their own depth by a few optimisation steps (training/hand_fit.py)."""

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from config import UnlabelledConfig
from dataloader.crop import HandCrop
from predicting.engine import SURFACE, EngineAnswer
from render.at_rest import settle_surface
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from training.hand_fit import HandFit


class Refinement:
    """Refines batches of hands; it runs on the CPU."""

    def __init__(
        self, hand: Path | None, steps: int, config: UnlabelledConfig | None = None, held: tuple[str, ...] = ()
    ) -> None:
        """Args: hand: file of the hand model, None = the open hand; steps: how many; config: weights of the losses;
        held: what stays as it is (training/hand_fit.py)."""
        layer = HandLayer(load_hand_model(hand))
        settle_surface(layer)
        self.fit = HandFit(layer, steps, config, held)

    def __call__(self, crop: HandCrop, observed: Bool[Tensor, "b 1 s s"], answer: EngineAnswer) -> EngineAnswer:
        """The answer with a better model branch; the pixel branch's joints stay.

        Args:
            crop: crops of right hands.
            observed: samples on the hand itself.
            answer: of an engine, for these crops.
        """
        # an engine's tensors may be barred from gradients: copies are not
        answer = EngineAnswer(*(part.clone() for part in answer))
        start = HandParams.from_vector(answer.params)
        hand = self.fit(crop, observed, start, crop.xyz_from_mm(answer.pixel_mm))
        with torch.no_grad():
            return EngineAnswer(
                answer.pixel_mm,
                crop.mm_from_xyz(hand.joints_xyz),
                crop.mm_from_xyz(hand.vertices_xyz[:, :SURFACE]),
                hand.hand.params().vector(),
            )


class Refinements:
    """Refinements by their number of steps, made when they are asked for: they draw poses to know what is plausible."""

    def __init__(self, hand: Path | None, held: tuple[str, ...]) -> None:
        self._hand, self._held, self._made = hand, held, dict[int, Refinement]()

    def __call__(self, steps: int) -> Refinement:
        if steps not in self._made:
            self._made[steps] = Refinement(self._hand, steps, held=self._held)
        return self._made[steps]
