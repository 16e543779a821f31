"""Where a data set's joints lie beside the hand model's keypoints: constant offsets learned from labels.

Poses of each frame, shapes of each subject and the offsets of the whole data set move together; offsets stay small
where nothing asks for them. `python bench/fit_offsets.py` prints the tables of fitting/correspondence.py.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.chain import Chain
from fitting.cost import FitWeights, PoseCost, solve
from fitting.prior import PosturePrior, Starts
from fitting.subject import ShapePrior, Subject, find_subject, reduced, some_frames

ROUNDS = 12
OFFSET_SPREAD_MM = 8.0
"""How far joints of two skeletons of the same name are expected to be apart."""
TIP_SPREAD_MM = 1.5
"""The same of finger tips, which everyone sees at the same place: hands grow to reach them instead."""


def find_offsets(
    chain: Chain,
    prior: PosturePrior,
    labels_mm: Sequence[Float[Tensor, "_ m 3"]],
    tips: Bool[Tensor, " m"],
    share: Float[Tensor, " m"],
    weights: FitWeights,
) -> tuple[Float[Tensor, "m 3"], list[Subject]]:
    """Offsets (mm, in the frames of the chain's bones, at size 1) and the subjects they were found with.

    labels_mm: of each subject; tips: which of the joints are finger tips.
    """
    m = labels_mm[0].shape[1]
    frames = [some_frames(labels) for labels in labels_mm]
    subjects = [find_subject(chain, prior, labels, share, weights) for labels in frames]
    sizes = ShapePrior()
    hands = [
        Starts(chain, chain.rest(s.shape, s.size), prior.library).hands(labels, (0, 3))
        for s, labels in zip(subjects, frames, strict=True)
    ]
    p = 11 * len(subjects)
    offset_spread = torch.where(tips, TIP_SPREAD_MM, OFFSET_SPREAD_MM).repeat_interleave(3)
    certainty = torch.cat([sizes.certainty().repeat(len(subjects)), offset_spread**-2]).to(share)
    for turn in range(ROUNDS):
        gradient, curvature = torch.zeros_like(certainty), torch.diag(certainty)
        for k, (subject, labels) in enumerate(zip(subjects, frames, strict=True)):
            rest = chain.rest(subject.shape, subject.size)
            cost = PoseCost(chain, rest, hands[k].rotation, labels.mT.contiguous(), share, prior, weights)
            hands[k], _ = solve(cost, hands[k], 15 if turn == 0 else 4)
            cost = replace(cost, start=hands[k].rotation)
            by = torch.zeros(len(labels), len(certainty), 3, m).to(share)
            by[:, 11 * k : 11 * k + 11] = chain.by_shape(rest, hands[k])
            own = chain.by_offset(rest, hands[k])  # (n, m, 3, 3)
            for joint in range(m):
                by[:, p + 3 * joint : p + 3 * joint + 3, :, joint] = own[:, joint].mT
            g, c = reduced(cost, cost.place(hands[k]), by)
            gradient, curvature = gradient + g, curvature + c
        away = torch.cat([*(sizes.away(subject) for subject in subjects), chain.offsets_mm.flatten()])
        step = -torch.linalg.solve(curvature, gradient + certainty * away)
        subjects = [sizes.moved(s, change) for s, change in zip(subjects, step[:p].split(11), strict=True)]
        chain = chain.with_offsets(chain.offsets_mm + step[p:].view(m, 3))
    return chain.offsets_mm, subjects
