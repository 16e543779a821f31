"""Endless plausible hands: articulation, shape, size and view, free of interpenetration."""

import roma
import torch

from config import SamplerConfig
from render.anatomy import Anatomy
from render.articulation import Articulation
from render.hand_layer import HandLayer, HandParams
from render.parameter_files import read_parameter_files
from render.shapes import draw_scales, draw_shapes
from render.untangle import Untangler
from render.views import draw_views

SURPLUS = 1.15
"""Hands drawn for each one wanted: some stay entangled and are thrown away."""
ROUNDS = 20
"""Times that missing hands are drawn again before something must be wrong."""


class HandSampler:
    """Draws hands, or takes them from parameter files; holds no random state of its own.

    Raises UserError when `config.pose_files` names files that are missing or damaged.
    """

    def __init__(self, layer: HandLayer, config: SamplerConfig) -> None:
        self.config = config
        self._layer = layer
        self._anatomy = Anatomy.of(layer)
        self._articulation = Articulation(config)
        self._untangler = Untangler(layer, self._anatomy, config.touch_mm)
        self._files = None if config.pose_files is None else read_parameter_files(config.pose_files)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> HandParams:
        """n hands, the same for the same state of the generator.

        The rotation turns about the wrist into the camera frame (x right, y down, z forward); translation is 0.
        Raises RuntimeError when nearly every hand drawn overlaps itself, as with a meaningless `touch_mm`.
        """
        if self._files is not None:
            return self._from_files(self._files, n, generator)
        angles, shapes = [torch.empty(0, 15, 3)], [torch.empty(0, 10)]
        missing = n
        for _ in range(ROUNDS):
            if missing <= 0:
                break
            drawn = int(missing * SURPLUS) + 2
            angle = self._articulation.draw(drawn, generator)
            shape = draw_shapes(self.config, drawn, generator)
            angle, free = self._untangler.untangle(angle, shape, self._untangler.radii(shape))
            kept = free.nonzero().squeeze(1)[:missing]
            angles.append(angle[kept])
            shapes.append(shape[kept])
            missing -= len(kept)
        if missing > 0:
            raise RuntimeError("hardly any hand drawn is free of overlaps: check the sampler's settings")
        return self.params(torch.cat(angles), torch.cat(shapes), generator)

    def _from_files(self, files: HandParams, n: int, generator: torch.Generator) -> HandParams:
        """Poses, views and shapes of n frames of the parameter files, sizes as configured, translation 0."""
        chosen = files[torch.randint(len(files.pose), (n,), generator=generator)]
        return HandParams(
            chosen.rotation, chosen.pose, chosen.shape, draw_scales(self.config, n, generator), torch.zeros(n, 3)
        )

    def params(self, angles: torch.Tensor, shape: torch.Tensor, generator: torch.Generator) -> HandParams:
        """Hands of given anatomical angles (n, 15, 3), radians, and shapes (n, 10), with views and sizes drawn."""
        n = len(angles)
        view = draw_views(self.config, n, generator) @ self._anatomy.frames[0].mT
        pose = self._layer.coefficients(roma.rotmat_to_rotvec(self._anatomy.rotations(angles)))
        return HandParams(
            rotation=roma.rotmat_to_rotvec(view),
            pose=pose,
            shape=shape,
            scale=draw_scales(self.config, n, generator),
            translation=torch.zeros(n, 3),
        )
