"""PointLSTM: point clouds of 32 frames, whose points read the states of their neighbours in the frame before.

Min, Zhang, Chai, Chen, "An Efficient PointLSTM for Point Clouds Based Gesture Recognition", CVPR 2020, in the variant
whose LSTM comes in the middle: points with neighbours of their own frame, with neighbours of the frames around, the
LSTM, neighbours around again, and a maximum over all. From stage to stage the half of the points is kept whose
neighbours are farthest away, which is where a hand has its tips.

A linear layer on (point, neighbour, how far apart) is the sum of three, and the first two are computed once a point,
before neighbours are gathered, not once a pair.
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gesture.neighbours import around, gathered, nearest


class PointLstm(nn.Module):
    """Points -> scores of classes."""

    def __init__(
        self,
        classes: int,
        widths: tuple[int, int, int, int] = (64, 128, 256, 512),
        neighbours: tuple[int, int, int, int] = (16, 48, 16, 24),
    ) -> None:
        """neighbours: in the frame, around, before, around."""
        super().__init__()
        first, second, third, fourth = widths
        self.neighbours = neighbours
        self.alone = _Shared(4, first // 2, first)
        self.early = _Grouped(first, second)
        self.lstm = PointLstmCell(second, third)
        self.middle = _Shared(third, third)
        self.late = _Grouped(third, fourth)
        self.whole = _Shared(fourth, 2 * fourth)
        self.norm = nn.BatchNorm1d(2 * fourth)
        self.classify = nn.Linear(2 * fourth, classes)

    def forward(self, points: Float[Tensor, "b frames n 3"]) -> Float[Tensor, "b classes"]:
        """Scores before the softmax."""
        b, frames, n, _ = points.shape
        time = torch.linspace(-1, 1, frames, device=points.device).view(frames, 1, 1).expand(b, frames, n, 1)
        place = torch.cat([points, time], -1)
        near, about, before, again = self.neighbours
        index = nearest(place[..., :3], place[..., :3], near)
        features = self.alone(gathered(place, index) - place.unsqueeze(-2)).amax(-2)
        features, place = self._halved(self.early, features, place, about)
        states = self.middle(self.lstm(features, place, before))
        features, _ = self._halved(self.late, states, place, again)
        pooled = self.whole(features).amax((1, 2))
        return self.classify(self.norm(pooled))

    def _halved(
        self, layer: "_Grouped", features: Float[Tensor, "b frames n c"], place: Float[Tensor, "b frames n 4"], k: int
    ) -> tuple[Tensor, Tensor]:
        """Features of the half of the points with the widest neighbourhood, and their places."""
        index = nearest(place[..., :3], around(place)[..., :3], k)
        apart = gathered(around(place), index) - place.unsqueeze(-2)
        squared = apart[..., :3].square().sum(-1)
        reach = squared.amax(-1) + 1e-3 * squared.mean(-1)  # two points that are each other's farthest would be alike
        kept = reach.topk(max(1, place.shape[2] // 2), dim=-1, sorted=False).indices
        rows = kept.unsqueeze(-1)
        index = index.gather(2, rows.expand(-1, -1, -1, index.shape[-1]))
        apart = apart.gather(2, rows.unsqueeze(-1).expand(-1, -1, -1, *apart.shape[-2:]))
        own = features.gather(2, rows.expand(-1, -1, -1, features.shape[-1]))
        return layer(own, around(features), index, apart), place.gather(2, rows.expand(-1, -1, -1, 4))


class PointLstmCell(nn.Module):
    """An LSTM whose points read the states of their neighbours in the frame before, and keep the largest outcome."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(4 + before, 4 * width)
        self.of_state = nn.Linear(width, 4 * width, bias=False)
        self.of_offset = nn.Linear(4, 4 * width, bias=False)

    def forward(
        self, features: Float[Tensor, "b frames n c"], place: Float[Tensor, "b frames n 4"], k: int
    ) -> Float[Tensor, "b frames n width"]:
        """States of all points of all frames."""
        seen = self.of_input(torch.cat([place, features], -1))
        state = cell = seen.new_zeros(*seen.shape[:1], seen.shape[2], self.of_state.in_features)
        states = []
        for frame in range(features.shape[1]):
            past = place[:, max(frame - 1, 0)]  # the first frame's points look at each other, in states of 0
            index = nearest(place[:, frame, :, :3], past[..., :3], k)
            state, cell = self.step(seen[:, frame], place[:, frame], past, index, state, cell)
            states.append(state)
        return torch.stack(states, 1)

    def step(
        self,
        seen: Float[Tensor, "b n four_width"],
        place: Float[Tensor, "b n 4"],
        past: Float[Tensor, "b m 4"],
        index: Int[Tensor, "b n k"],
        state: Float[Tensor, "b m width"],
        cell: Float[Tensor, "b m width"],
    ) -> tuple[Float[Tensor, "b n width"], Float[Tensor, "b n width"]]:
        """One frame. index: neighbours among the past points, whose states are given."""
        # offset = past - place, linear like the state: both are brought to the gates before they are gathered
        of_past = gathered(self.of_state(state) + self.of_offset(past), index)
        gates = of_past + (seen - self.of_offset(place)).unsqueeze(-2)
        let_in, forget, let_out, new = gates.chunk(4, -1)
        inner = forget.sigmoid() * gathered(cell, index) + let_in.sigmoid() * new.tanh()
        return (let_out.sigmoid() * inner.tanh()).amax(-2), inner.amax(-2)


class _Shared(nn.Module):
    """Linear layers with batch norm and ReLU, the same for every point."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.linear = nn.ModuleList([nn.Linear(before, width) for before, width in pairs])
        self.norm = nn.ModuleList([nn.BatchNorm1d(width) for _, width in pairs])

    def forward(self, features: Tensor) -> Tensor:
        for linear, norm in zip(self.linear, self.norm, strict=True):
            features = linear(features)
            features = norm(features.flatten(0, -2)).view_as(features).relu()
        return features


class _Grouped(nn.Module):
    """A layer on (point, neighbour, how far apart), its largest outcome over the neighbours."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.of_point = nn.Linear(before, width)
        self.of_neighbour = nn.Linear(before, width, bias=False)
        self.of_offset = nn.Linear(4, width, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(
        self,
        own: Float[Tensor, "b frames n c"],
        others: Float[Tensor, "b frames m c"],
        index: Int[Tensor, "b frames n k"],
        apart: Float[Tensor, "b frames n k 4"],
    ) -> Float[Tensor, "b frames n width"]:
        pairs = gathered(self.of_neighbour(others), index) + self.of_offset(apart) + self.of_point(own).unsqueeze(-2)
        return self.norm(pairs.flatten(0, -2)).view_as(pairs).relu().amax(-2)
