"""Noise of depth sensors on rendered depth, so that a network trained on renders meets nothing new on a real sensor.

The kinds follow what is known of structured-light and time-of-flight cameras (Khoshelham and Elberink 2012 for noise
and step growing with the squared range; Nguyen et al. 2012 for lateral noise and losses at grazing angles). An image is
first read onto the sensor's own, coarser grid, where one cell is one sensor pixel; all kinds act there; then cells are
repeated over the samples they cover.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from config import SensorConfig
from render import sensor_torch, sensor_warp
from render.sensor_draws import SensorDraws
from util.draws import Draws

BACKENDS: dict[str, Callable[[Tensor, SensorDraws], Tensor]] = {
    "warp": sensor_warp.noisy,
    "torch": sensor_torch.noisy,
}
"""Kernels for CPU and CUDA, and their slow twin."""


class SensorNoise:
    """Callable that turns clean depth into what a sensor might report."""

    def __init__(self, config: SensorConfig, backend: Literal["warp", "torch"] = "warp") -> None:
        self.config, self._noisy = config, BACKENDS[backend]

    def __call__(
        self,
        depth_mm: Float[Tensor, "b h w"],
        generator: Draws,
        pixel_mm: Float[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b h w"]:
        """Noisy copies of float32 depth images of at most 1,000 samples a side, each with strengths of its own.

        depth_mm: 0 = no reading, before and after. generator: CPU; the same state gives the same noise.
        pixel_mm: side of an image pixel at the surface, mm; 2 mm where not given (a 250 mm cube on 128 pixels).
        """
        if pixel_mm is None:
            pixel_mm = depth_mm.new_full((len(depth_mm),), 2.0)
        return self._noisy(depth_mm, SensorDraws.of(self.config, depth_mm, pixel_mm, generator))
