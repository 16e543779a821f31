"""Hands fitted to labelled joints: a shape a subject, then every frame from its nearest posture, failures once more."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.chain import Chain, Hands
from fitting.collision import HandCollisions
from fitting.correspondence import Correspondence
from fitting.cost import FitWeights, PoseCost, solve
from fitting.prior import PosturePrior, Starts
from fitting.subject import Subject, find_subject
from render.anatomy import within_limits
from render.hand_layer import HandLayer, HandParams

CHUNK, GPU_CHUNK = 256, 8192
"""Frames that are solved side by side: what stays in a core's cache, and what fills a GPU."""
STEPS = 30
RETRIES = ((3, 6), (6, 12), (12, 24), (24, 48))
"""Ranks of the nearest postures that a failed frame starts from again."""
CONVERGED_MM = 10.0
"""A fit whose mean distance over the shared joints is not below this has failed."""
DEEP_MM = 3.0
"""So has one with a deeper overlap of spheres than this."""
CARE_MM = 1.8
"""Overlaps from which on a fit is done again with spheres that push; radii of posed surfaces differ a little."""


@dataclass(frozen=True)
class Fit:
    """Hands of n frames as right hands, in the frame of the labels they were fitted to."""

    params: HandParams
    """Translation in mm; the layer's hands placed with a unit of 1 mm."""
    joints_mm: Float[Tensor, "n 21 3"]
    """The model's own keypoints."""
    points_mm: Float[Tensor, "n m 3"]
    """What stands for the labels."""
    residual_mm: Float[Tensor, "n m"]
    """Their distances."""
    overlap_mm: Float[Tensor, " n"]
    """How deep the worst pair of spheres is, beyond what the open hand's are."""
    within: Bool[Tensor, " n"]
    """Whether all angles are within anatomical limits."""
    shared: tuple[int, ...]
    """Joints that both skeletons define alike."""
    vertices_mm: Tensor | None = field(default=None, repr=False)
    """(n, 779, 3) surfaces, where asked for."""

    @property
    def mean_mm(self) -> Float[Tensor, " n"]:
        """Mean distance of each frame over the shared joints."""
        return self.residual_mm[:, list(self.shared)].mean(-1)

    @property
    def converged(self) -> Bool[Tensor, " n"]:
        """Whether each frame's fit is near, within the limits, and free of deep overlaps."""
        return (self.mean_mm < CONVERGED_MM) & self.within & (self.overlap_mm <= DEEP_MM)

    @property
    def median_mm(self) -> float:
        """Median over all frames and the shared joints."""
        return float(self.residual_mm[:, list(self.shared)].median())

    @staticmethod
    def cat(parts: Sequence["Fit"], order: Int[Tensor, " n"]) -> "Fit":
        """Parts one after the other, then row `order[k]` as the k-th."""

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts])[order]

        return Fit(
            HandParams.from_vector(torch.cat([part.params.vector() for part in parts])[order]),
            joined("joints_mm"),
            joined("points_mm"),
            joined("residual_mm"),
            joined("overlap_mm"),
            joined("within"),
            parts[0].shared,
            None if parts[0].vertices_mm is None else joined("vertices_mm"),
        )


class HandFitter:
    """Fits hands of one model to labels of one joint set."""

    def __init__(
        self,
        layer: HandLayer,
        correspondence: Correspondence,
        weights: FitWeights | None = None,
        threads: int = 1,
        surfaces: bool = False,
    ) -> None:
        """
        Args:
            layer: a right hand, on the device that everything runs on.
            correspondence: what the labels are.
            weights: of the cost's terms.
            threads: chunks of frames that are solved at once, on a CPU.
            surfaces: keep vertices.
        """
        like = layer.template
        self.layer, self.correspondence, self.weights = layer, correspondence, weights or FitWeights()
        combinations = correspondence.combinations.to(like)
        self.chain = Chain(layer, combinations, correspondence.bones, correspondence.offsets_mm)
        keypoints = torch.eye(21).to(like)
        bones = torch.cat([torch.zeros(21, dtype=torch.long), correspondence.bones])
        offsets = torch.cat([torch.zeros(21, 3), correspondence.offsets_mm])
        self.all_points = Chain(layer, torch.cat([keypoints, combinations]), bones, offsets)
        self.prior = PosturePrior.of(like)
        self.threads, self.surfaces = threads, surfaces
        self.share = correspondence.share().to(like)

    @torch.no_grad()
    def __call__(
        self,
        labels_mm: Float[Tensor, "n m 3"],
        subjects: Int[Tensor, " n"] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> tuple[Fit, list[Subject]]:
        """Fits of all frames, and the subjects' shapes.

        Args:
            labels_mm: right hands, camera frame, y down.
            subjects: whose hand each is, 0, 1, ...; unset: all the same one's.
            progress: told how many frames more are done.
        """
        labels_mm = labels_mm.to(self.layer.template)
        whose = torch.zeros(len(labels_mm), dtype=torch.long) if subjects is None else subjects
        found, parts, rows = [], [], []
        on_cpu = labels_mm.device.type == "cpu"
        threads, chunk = (self.threads, CHUNK) if on_cpu else (1, GPU_CHUNK)
        with _one_thread_each(threads), ThreadPoolExecutor(threads, initializer=_single) as pool:
            for number in range(int(whose.max()) + 1):
                own = (whose == number).nonzero().squeeze(1)
                labels = labels_mm[own.to(labels_mm.device)]
                subject = find_subject(self.chain, self.prior, labels, self.share, self.weights)
                task = _OneSubject(self, subject)
                for part in pool.map(task, labels.split(chunk)):
                    parts.append(part)
                    if progress is not None:
                        progress(len(part.within))
                found.append(subject)
                rows.append(own)
        order = torch.cat(rows).argsort()
        return Fit.cat(parts, order.to(labels_mm.device)), found


class _OneSubject:
    """Fits chunks of one subject's frames."""

    def __init__(self, fitter: HandFitter, subject: Subject) -> None:
        self.fitter, self.subject = fitter, subject
        self.rest = fitter.chain.rest(subject.shape, subject.size)
        self.starts = Starts(fitter.chain, self.rest, fitter.prior.library)
        self.collisions = HandCollisions(fitter.layer, subject.shape, subject.size)
        self.all_rest = fitter.all_points.rest(subject.shape, subject.size)

    @torch.no_grad()
    def __call__(self, labels_mm: Float[Tensor, "n m 3"]) -> Fit:
        hands, cost = self._solved(labels_mm, (0, 3))
        failed = self._failed(hands, labels_mm)
        for ranks in RETRIES:
            if not len(failed):
                break
            again, least = self._solved(labels_mm[failed], ranks)
            better = least < cost[failed]
            hands = hands.replaced(failed[better], again[better])
            cost[failed[better]] = least[better]
            failed = failed[self._failed(hands[failed], labels_mm[failed])]
        keypoints = self.fitter.all_points.points(self.all_rest, hands, jacobian=False).mm[..., :21].mT
        deep = (self.collisions.depth(keypoints) > CARE_MM).nonzero().squeeze(1)
        if len(deep):
            apart, _ = solve(self._cost(hands[deep], labels_mm[deep], pushing=True), hands[deep], STEPS)
            hands = hands.replaced(deep, apart)
        return self._fit(hands, labels_mm)

    def _cost(self, hands: Hands, labels_mm: Tensor, pushing: bool = False) -> PoseCost:
        fitter = self.fitter
        chain, rest = (fitter.all_points, self.all_rest) if pushing else (fitter.chain, self.rest)
        collisions = self.collisions if pushing else None
        labels = labels_mm.mT.contiguous()
        return PoseCost(chain, rest, hands.rotation, labels, fitter.share, fitter.prior, fitter.weights, collisions)

    def _solved(self, labels_mm: Tensor, ranks: tuple[int, int]) -> tuple[Hands, Tensor]:
        start = self.starts.hands(labels_mm, ranks)
        return solve(self._cost(start, labels_mm), start, STEPS)

    def _failed(self, hands: Hands, labels_mm: Tensor) -> Int[Tensor, " failed"]:
        points = self.fitter.chain.points(self.rest, hands, jacobian=False).mm.mT
        off = (points - labels_mm).norm(dim=-1)[:, list(self.fitter.correspondence.shared)].mean(-1)
        return (~(off < CONVERGED_MM)).nonzero().squeeze(1)

    def _fit(self, hands: Hands, labels_mm: Tensor) -> Fit:
        fitter, layer, n = self.fitter, self.fitter.layer, len(hands)
        angles = hands.angles()
        pose = layer.coefficients(roma.rotmat_to_rotvec(fitter.chain.anatomy.rotations(angles)))
        shape, size = self.subject.shape.expand(n, 10), self.subject.size.expand(n, 1)
        shift = hands.root_mm - self.rest.joints_mm[0]
        mesh = layer(hands.rotation, pose, shape)
        vertices_mm, joints_mm = mesh.placed(size, shift, 1.0)
        points = fitter.chain.points(self.rest, hands, jacobian=False).mm.mT
        return Fit(
            HandParams(roma.rotmat_to_rotvec(hands.rotation), pose, shape, size, shift),
            joints_mm,
            points,
            (points - labels_mm).norm(dim=-1),
            self.collisions.depth(joints_mm, vertices_mm),
            within_limits(angles),
            fitter.correspondence.shared,
            vertices_mm if fitter.surfaces else None,
        )


def _single() -> None:
    torch.set_num_threads(1)


@contextmanager
def _one_thread_each(threads: int) -> Iterator[None]:
    """Chunks side by side use the cores better than torch does inside one; its own number of threads comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
