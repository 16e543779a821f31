"""What postures are plausible, and which posture a set of joints looks like before anything is fitted."""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from config import SamplerConfig
from fitting.chain import Chain, Hands, Rest, box_of
from render.articulation import Articulation
from util.streams import stream

N_PRIOR, N_LIBRARY = 4096, 1536
FLOOR_DEG = 3.0
"""No coordinate is expected to be surer than this."""


@dataclass(frozen=True)
class PosturePrior:
    """A normal distribution of joint coordinates: that of the hand sampler, which couples joints as tendons do."""

    mean: Float[Tensor, "45"]
    precision: Float[Tensor, "45 45"]
    library: Float[Tensor, "k 45"]
    """Coordinates of postures to begin from."""

    @staticmethod
    def of(like: Tensor) -> "PosturePrior":
        """The prior in the precision and on the device of `like`."""
        angles = Articulation(SamplerConfig(paths="all")).draw(N_PRIOR, stream("posture prior"))
        box = box_of(angles).double()
        spread = torch.cov(box.T) + torch.eye(45, dtype=torch.float64) * torch.tensor(FLOOR_DEG).deg2rad() ** 2
        library = box[:N_LIBRARY]
        return PosturePrior(*(rows.to(like) for rows in (box.mean(0), torch.linalg.inv(spread), library)))


class Starts:
    """Nearest postures by the distances between joints, which no turn and no place changes."""

    def __init__(self, chain: Chain, rest: Rest, library: Float[Tensor, "k 45"]) -> None:
        k = len(library)
        eye = torch.eye(3).to(library)
        hands = Hands(library, eye.expand(k, 3, 3), torch.zeros(k, 3).to(library))
        self.library, self.points_mm = library, chain.points(rest, hands, jacobian=False).mm.mT  # (k, m, 3)
        self.distances = _distances(self.points_mm)
        self.size = self.distances.norm(dim=-1)

    def size_of(self, joints_mm: Float[Tensor, "n m 3"]) -> Float[Tensor, ""]:
        """How much larger hands are than those of the library: the median over them of their nearest posture's."""
        distances = _distances(joints_mm)
        size = distances.norm(dim=-1)
        alike = (distances / size[:, None]) @ (self.distances / self.size[:, None]).T
        return (size / self.size[alike.argmax(-1)]).median()

    def hands(self, joints_mm: Float[Tensor, "n m 3"], ranks: tuple[int, int]) -> Hands:
        """For each frame the posture, of those whose distances rank from the first to before the second, that lies
        nearest when it is laid onto the joints, laid there."""
        n, (first, end) = len(joints_mm), ranks
        alike = torch.cdist(_distances(joints_mm), self.distances, compute_mode="use_mm_for_euclid_dist")
        chosen = alike.topk(end, largest=False).indices[:, first:]  # (n, c)
        postures = self.points_mm[chosen]
        found = roma.rigid_points_registration(postures, joints_mm[:, None].expand_as(postures))
        rotation, shift = torch.as_tensor(found[0]), torch.as_tensor(found[1])
        laid = postures @ rotation.mT + shift.unsqueeze(-2)
        best = (laid - joints_mm[:, None]).square().sum((-1, -2)).argmin(-1)
        rows = torch.arange(n, device=joints_mm.device)
        return Hands(self.library[chosen[rows, best]], rotation[rows, best], shift[rows, best])


def _distances(points: Float[Tensor, "*batch m 3"]) -> Float[Tensor, "*batch pairs"]:
    first, second = torch.triu_indices(points.shape[-2], points.shape[-2], 1)
    return (points[..., first, :] - points[..., second, :]).norm(dim=-1)
