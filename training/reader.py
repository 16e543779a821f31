"""A frozen hand pose network that reads joints and features off crops, with gradients towards the image alone."""

from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

from config import Experiment
from model.network import DualBranchNetwork
from model.offset_maps import KERNEL, N_JOINTS, SHARPNESS, Cells, read_maps
from training.setup import make_network


class Reading(NamedTuple):
    """What a reader sees in a batch of crops."""

    joints_uvd: Float[Tensor, "b 21 3"]
    """Joints of the first stage's pixel branch."""
    features: Float[Tensor, "b c s s"]
    """What that branch reads its maps off."""


class Reader:
    """The first stage's pixel branch of a network that no longer changes."""

    def __init__(self, network: DualBranchNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @staticmethod
    def load(experiment: Experiment, fabric: Fabric, path: Path) -> "Reader":
        """From a file of ours or a published one. Raises UserError when it holds no hand pose network."""
        return Reader(make_network(experiment, fabric, path)[0])

    def __call__(self, depth: Float[Tensor, "b 1 s s"]) -> Reading:
        """Read crops, [-1, 1] with background 1."""
        _, stage = self.network.first_maps(depth)
        cells = Cells.of(depth, stage.maps.shape[-1])
        rows = stage.maps.permute(0, 2, 3, 1).flatten(1, 2).to(depth.dtype)
        read = read_foreground if self.network.config.foreground_softmax else read_maps
        return Reading(read(rows, cells), stage.decoded.to(depth.dtype))


def read_foreground(maps: Float[Tensor, "b cells 84"], cells: Cells) -> Float[Tensor, "b 21 3"]:
    """What `read_rows` reads, with gradients towards the depth of the cells as well, which training has no use for.

    maps: as of `read_maps`. A crop without a foreground cell reads the middle of its cube.
    """
    seen = cells.foreground.unsqueeze(-1)
    offset, closeness = maps[..., : 3 * N_JOINTS].unflatten(-1, (N_JOINTS, 3)), maps[..., 3 * N_JOINTS :]
    weight = (SHARPNESS * closeness).masked_fill(~seen, -1e9).softmax(1) * seen
    reach = weight * KERNEL * (1 - closeness)
    return weight.transpose(1, 2) @ cells.uvd + (reach.unsqueeze(-1) * offset).sum(1)
