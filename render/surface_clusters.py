"""How the triangles of a surface are put into clusters of neighbours: once for all its poses, on the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

LANES = 8
"""Triangles of a cluster, clusters of a node and nodes of a block: numbers that a processor works on side by side."""
KEPT = 16
"""Surfaces that are remembered, the latest ones."""


@dataclass(frozen=True)
class Clusters:
    """Three levels: cluster i is lane i % LANES of node i // LANES, and nodes lie in blocks in the same way."""

    faces: Int[Tensor, "clusters lanes"]
    """Face ids (int32), -1 where a lane is empty."""
    corners: Int[Tensor, "clusters lanes 3"]
    """Their vertices (int32)."""
    first_block: Int[Tensor, " groups_and_one"]
    """First block of each group, and the number of blocks (int32)."""

    @staticmethod
    def of(
        vertices: Float[Tensor, "b v 3"], faces: Int[Tensor, "f 3"], groups: Sequence[Int[Tensor, "_"]]
    ) -> "Clusters":
        """Clusters of the faces of each group, or of all faces as one group where none are given.

        The first call with these tensors waits for the device and cuts up the most open hand of the batch (any pose
        is right, but boxes around pieces of a fist are loose). Later calls take the same clusters in every pose.
        """
        tensors = (faces, *groups)
        key = tuple(_identity(tensor) for tensor in tensors)
        if key not in _kept:
            while len(_kept) >= KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[key] = (_cut_up(_most_open(vertices), faces, groups), tensors)
        return _kept[key][0]


_kept: dict[tuple, tuple[Clusters, tuple[Tensor, ...]]] = {}
"""By identity of the tensors, which are kept as well: as long as they live, their memory is nobody else's."""


def _identity(tensor: Tensor) -> tuple:
    """What stays the same as long as a tensor holds the same numbers (of views made anew each time as well)."""
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.device, tensor.data_ptr(), version, tensor.dtype, tensor.shape, tensor.stride()


def _most_open(vertices: Float[Tensor, "b v 3"]) -> np.ndarray:
    """Vertices (v, 3) of the item that reaches farthest from its middle."""
    reach = (vertices - vertices.mean(1, keepdim=True)).square().sum((1, 2))
    item = reach.nan_to_num(-1.0, -1.0).argmax()
    return vertices[item].detach().nan_to_num(0.0, 0.0, 0.0).double().cpu().numpy()


def _cut_up(vertices: np.ndarray, faces: Tensor, groups: Sequence[Tensor]) -> Clusters:
    """Each group in blocks of up to LANES nodes of up to LANES clusters of up to LANES triangles, as even as can be."""
    corners = faces.cpu().numpy()
    middles = vertices[corners].mean(1)
    blocks, first_block = [], [0]
    for ids in [group.cpu().numpy() for group in groups] or [np.arange(len(corners))]:
        for in_block in _pieces(ids, middles, -(-len(ids) // LANES**3)):
            block = np.full((LANES, LANES, LANES), -1, dtype=np.int32)
            for node, in_node in enumerate(_pieces(in_block, middles, -(-len(in_block) // LANES**2))):
                for cluster, triangles in enumerate(_pieces(in_node, middles, -(-len(in_node) // LANES))):
                    block[node, cluster, : len(triangles)] = triangles
            blocks.append(block.reshape(-1, LANES))
        first_block.append(len(blocks))
    of_lane = np.concatenate(blocks)
    tables = of_lane, corners[of_lane.clip(min=0)].astype(np.int32), np.array(first_block, dtype=np.int32)
    return Clusters(*(torch.from_numpy(table).to(faces.device) for table in tables))


def _pieces(ids: np.ndarray, middles: np.ndarray, count: int) -> list[np.ndarray]:
    """Triangles in `count` pieces of about equal size, halved again and again where they reach farthest."""
    if count <= 1:
        return [ids]
    axis = np.ptp(middles[ids], axis=0).argmax()
    ids = ids[np.argsort(middles[ids, axis], kind="stable")]
    cut = len(ids) * (count // 2) // count
    return _pieces(ids[:cut], middles, count // 2) + _pieces(ids[cut:], middles, count - count // 2)
