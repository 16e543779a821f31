"""Attention over the joints of a few frames under DG-STA's two masks, computed on the pairs that the masks leave.

Spatial: a joint sees the joints of its own frame. Temporal: it sees itself and every joint of the other frames. Of the
(8 x 22)^2 pairs the first leaves an eighth, the second seven eighths. `dense_attention` is the slow twin of both.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Domain = Literal["spatial", "temporal"]


def spatial_attention(
    query: Float[Tensor, "*batch frames joints d"],
    key: Float[Tensor, "*batch frames joints d"],
    value: Float[Tensor, "*batch frames joints e"],
) -> Float[Tensor, "*batch frames joints e"]:
    """What each joint reads from those of its own frame."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(-1) @ value


def temporal_attention(
    query: Float[Tensor, "*batch frames joints d"],
    key: Float[Tensor, "*batch frames joints d"],
    value: Float[Tensor, "*batch frames joints e"],
) -> Float[Tensor, "*batch frames joints e"]:
    """What each joint reads from itself and from all joints of the other frames."""
    frames, scale = query.shape[-3], query.shape[-1] ** -0.5
    others = [[other for other in range(frames) if other != frame] for frame in range(frames)]
    place = torch.tensor(others, dtype=torch.long, device=query.device).reshape(frames, frames - 1)
    other_keys, other_values = (x[..., place, :, :].flatten(-3, -2) for x in (key, value))
    scores = torch.cat([query @ other_keys.transpose(-1, -2), (query * key).sum(-1, keepdim=True)], -1) * scale
    weights = scores.softmax(-1)
    return weights[..., :-1] @ other_values + weights[..., -1:] * value


def dense_attention(
    query: Float[Tensor, "*batch frames joints d"],
    key: Float[Tensor, "*batch frames joints d"],
    value: Float[Tensor, "*batch frames joints e"],
    domain: Domain,
) -> Float[Tensor, "*batch frames joints e"]:
    """The same over all pairs, those outside the mask at minus infinity; to compare with."""
    frames, joints = query.shape[-3:-1]
    mask = domain_mask(frames, joints, domain).to(query.device)
    q, k, v = (x.flatten(-3, -2) for x in (query, key, value))
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ v).unflatten(-2, (frames, joints))


def domain_mask(frames: int, joints: int, domain: Domain) -> Bool[Tensor, "nodes nodes"]:
    """Which nodes (row, joint by joint, frame after frame) see which."""
    frame = torch.arange(frames).repeat_interleave(joints)
    same = frame.unsqueeze(1) == frame
    return same if domain == "spatial" else ~same | torch.eye(frames * joints, dtype=torch.bool)
