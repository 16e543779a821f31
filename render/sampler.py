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
from util import draws
from util.draws import Draws, SampleDraws

SURPLUS = 1.15
"""Hands drawn for each one wanted: some stay entangled and are thrown away."""
TRIES = 3
"""Hands drawn at once in place of a sample's own first one, where that stays entangled."""
ROUNDS = 20
"""Times that missing hands are drawn again before something must be wrong."""

ENTANGLED = "hardly any hand drawn is free of overlaps: check the sampler's settings"


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
    def sample(self, n: int, generator: Draws) -> HandParams:
        """n hands, the same for the same state of the generator, or, of `SampleDraws`, each of its own sample.

        The rotation turns about the wrist into the camera frame (x right, y down, z forward); translation is 0.
        Raises RuntimeError when nearly every hand drawn overlaps itself, as with a meaningless `touch_mm`.
        """
        if self._files is not None:
            return self._from_files(self._files, n, generator)
        if isinstance(generator, SampleDraws):
            return self.params(*self._each_its_own(n, generator.fork()), generator)
        angles, shapes = [torch.empty(0, 15, 3)], [torch.empty(0, 10)]
        missing = n
        for _ in range(ROUNDS):
            if missing <= 0:
                break
            angle, shape, free = self._drawn(int(missing * SURPLUS) + 2, generator)
            kept = free.nonzero().squeeze(1)[:missing]
            angles.append(angle[kept])
            shapes.append(shape[kept])
            missing -= len(kept)
        if missing > 0:
            raise RuntimeError(ENTANGLED)
        return self.params(torch.cat(angles), torch.cat(shapes), generator)

    def _drawn(self, n: int, generator: Draws) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Angles and shapes of n hands, and whether each is free of overlaps."""
        angle = self._articulation.draw(n, generator)
        shape = draw_shapes(self.config, n, generator)
        angle, free = self._untangler.untangle(angle, shape, self._untangler.radii(shape))
        return angle, shape, free

    def _each_its_own(self, n: int, own: SampleDraws) -> tuple[torch.Tensor, torch.Tensor]:
        """Angles and shapes of n hands, each the first one of its sample's own that is free of overlaps."""
        angles, shapes = torch.empty(n, 15, 3), torch.empty(n, 10)
        missing, attempt, tries = torch.arange(n), 0, 1
        for _ in range(ROUNDS):
            turns = torch.arange(tries).repeat(len(missing)) + attempt
            angle, shape, free = self._drawn(len(turns), own.at(missing.repeat_interleave(tries), turns))
            free = free.unflatten(0, (-1, tries))
            found, first = free.any(1), free.int().argmax(1)
            taken = (torch.arange(len(missing)) * tries + first)[found]
            angles[missing[found]], shapes[missing[found]] = angle[taken], shape[taken]
            missing, attempt, tries = missing[~found], attempt + tries, TRIES
            if not len(missing):
                return angles, shapes
        raise RuntimeError(ENTANGLED)

    def _from_files(self, files: HandParams, n: int, generator: Draws) -> HandParams:
        """Poses, views and shapes of n frames of the parameter files, sizes as configured, translation 0."""
        chosen = files[draws.randint(generator, 0, len(files.pose), n)]
        return HandParams(
            chosen.rotation, chosen.pose, chosen.shape, draw_scales(self.config, n, generator), torch.zeros(n, 3)
        )

    def params(self, angles: torch.Tensor, shape: torch.Tensor, generator: Draws) -> HandParams:
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
