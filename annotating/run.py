"""Hands of every frame of a source, shard by shard, in as many processes as there are; what was done is kept."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from annotating.annotations import Annotations
from annotating.choices import Choices
from annotating.one_shape import HELD, OneShape, Shape
from annotating.place import Place
from annotating.source import Source
from dataloader.camera import Camera
from dataloader.find_hands import BORDER_PX
from dataloader.frame import DepthFrame
from dataloader.listing import Listing
from dataloader.locate import Intrinsics
from dataloader.patch import StoredFrame
from dataloader.prepare import NO_HAND, prepare_frame
from dataloader.sources import StoredFrames
from predicting.engine import SHIPPED
from predicting.estimator import CUBE_MM, HandEstimator
from predicting.prediction import HandPrediction, no_hand
from predicting.reading import Reading, chosen_side
from predicting.views import Attempt, View
from util.processes import is_first, world
from util.shards import Columns, Shards, checksums

UNEXPLAINED = "nothing was read as a hand"
"""Why a frame in which something was looked at is without a hand."""
CROP = 128
"""Samples along a crop's side."""

Read = tuple[HandPrediction, str]
"""A frame's hand, and why there is none."""


class PixelJoints(HandEstimator):
    """An estimator whose hands have the joints of the pixel branch, with surface and parameters of the model branch."""

    def predicted(self, frame: DepthFrame, reading: Reading | None, sure: float = 1.0) -> HandPrediction:
        """The answer for a frame; sure: of the side, 0 to 1."""
        hand = super().predicted(frame, reading, sure)
        if reading is None:
            return hand
        return replace(hand, joints_mm=reading.attempt.view.carried_back(reading.answer.pixel_mm[0].numpy()))


class Annotator:
    """Reads the frames of a source."""

    def __init__(self, source: Source, choices: Choices, engine: OneShape, shapes: Mapping[str, Shape] | None) -> None:
        """Args: source: whose frames; choices: how; engine: reads crops; shapes: one a subject, None = as read."""
        self.source, self.choices, self.engine, self.shapes = source, choices, engine, shapes
        self._estimators: dict[float, HandEstimator] = {}

    def __call__(self, rows: Sequence[int]) -> Annotations:
        """The hands of some frames."""
        source, read = self.source, {}
        groups: dict[tuple[str, float], list[int]] = defaultdict(list)
        for row in rows:
            cube_mm = self._cube_mm(row)
            if why := source.reason(row):
                read[row] = no_hand(source.files[row], cube_mm), why
            else:
                groups[source.subjects[row] if self.shapes else "", cube_mm].append(row)
        for (subject, cube_mm), own in groups.items():
            self.engine.held = (self.shapes or {}).get(subject)
            for at in range(0, len(own), self.choices.batch):
                some = own[at : at + self.choices.batch]
                read |= zip(some, self._batch(some, self._estimator(cube_mm)), strict=True)
        hands = [read[row] for row in rows]
        return Annotations.of_predictions([hand for hand, _ in hands], [why for _, why in hands])

    def _batch(self, rows: Sequence[int], estimator: HandEstimator) -> list[Read]:
        frames = self.source.frames
        if isinstance(frames, StoredFrames):
            hands = estimator.batch([frames[row] for row in rows])
            return [(hand, NO_HAND if hand.status == "no hand" else "") for hand in hands]
        return _placed(self.source, frames, rows, estimator)

    def _cube_mm(self, row: int) -> float:
        frames = self.source.frames
        if isinstance(frames, StoredFrames):
            return self.choices.cube_mm or CUBE_MM
        return float(frames.cubes_mm[max(int(self.source.listed[row]), 0)].max()) if len(frames) else CUBE_MM

    def _estimator(self, cube_mm: float) -> HandEstimator:
        """One an edge of the cube: subjects differ in it."""
        if cube_mm not in self._estimators:
            frames = self.source.frames
            own = frames.side if isinstance(frames, StoredFrames) else "right"
            kind = PixelJoints if self.choices.joints == "pixel" else HandEstimator
            self._estimators[cube_mm] = kind(
                engine=self.engine,
                side=self.choices.side or own or "right",
                refine=self.choices.refine,
                hand=self.choices.hand,
                cube_mm=cube_mm,
                held=HELD if self.shapes else (),
            )
        return self._estimators[cube_mm]


def annotate(
    source: Source, choices: Choices, place: Place, engine: OneShape, shapes: Mapping[str, Shape] | None = None
) -> Annotations:
    """The hands of all frames of a source, in every process; what an earlier call has done is taken as it is.

    Args:
        source: whose frames.
        choices: how they are read.
        place: the folder that shards are kept in.
        engine: what reads crops.
        shapes: shape and size of each subject, None = as read.

    Raises:
        UserError: an image is missing or damaged, or the folder cannot be written to.
    """
    # the number in front keeps frames in the order of the data set's own files, and tells apart those listed twice
    names = [f"{row:08d} {file}" for row, file in enumerate(source.files)]
    if isinstance(source.frames, StoredFrames):
        names = source.frames.stamps()
    folder = place.shards / (source.name if shapes is None else f"{source.name}-one-shape")
    shards = Shards(folder, names, choices.shard, about(source, choices, shapes), sound=Annotations.fit)
    annotator = Annotator(source, choices, engine, shapes)
    todo = len(shards.missing()) * choices.shard // world()
    title = f"{source.name}, one shape" if shapes is not None else source.name
    with tqdm(total=min(todo, len(source)), unit="frame", desc=title, disable=None if is_first() else True) as bar:

        def work(rows: list[int]) -> Columns:
            columns = annotator(rows).columns()
            bar.update(len(rows))
            return columns

        shards.run(work)
    return Annotations.of_columns(shards.merged())


def about(source: Source, choices: Choices, shapes: Mapping[str, Shape] | None) -> dict[str, str]:
    """All that predictions depend on besides the images: shards about something else are made anew."""
    state = hashlib.sha256(source.listed.tobytes() + source.asked.tobytes())
    if isinstance(source.frames, Listing):
        for array in (source.frames.centres_mm, source.frames.boxes, source.frames.cubes_mm):
            state.update(b"none" if array is None else array.tobytes())
    for subject, shape in sorted((shapes or {}).items()):
        state.update(subject.encode() + shape.tobytes())
    marks = checksums({"weights": choices.weights or SHIPPED, "hand": choices.hand})
    how = ("joints", "refine", "cube_mm", "batch", "side", "camera", "sensor", "unit")
    if isinstance(source.frames, StoredFrames):
        marks["optics"] = repr(source.frames.optics)
    return {
        **marks,
        "source": state.hexdigest(),
        "root": str(source.root.resolve()),
        "how": repr([getattr(choices, name) for name in how]),
    }


def _placed(source: Source, listing: Listing, rows: Sequence[int], estimator: HandEstimator) -> list[Read]:
    """Frames whose hand's place the data set tells, or its depth in the data set's box."""
    size = source.size or (0, 0)
    cut = [prepare_frame(listing, int(source.listed[row]), 0, CROP) for row in rows]
    attempts = [_attempt(k, frame, size) for k, frame in enumerate(cut) if isinstance(frame, StoredFrame)]
    chosen = [chosen_side({"right": reading}, 0.0)[0] for reading in estimator.read(attempts)]
    readings = iter(estimator.refined(chosen))
    found = []
    for row, frame in zip(rows, cut, strict=True):
        reading = next(readings) if isinstance(frame, StoredFrame) else None
        named = DepthFrame(np.zeros((0, 0), np.uint16), Camera.of(*listing.camera), source.files[row])
        why = "" if reading is not None else frame if isinstance(frame, str) else UNEXPLAINED
        found.append((estimator.predicted(named, reading), why))
    return found


def _attempt(k: int, frame: StoredFrame, size: tuple[int, int]) -> Attempt:
    """A frame's patch as a place to be read; the camera is that of the patch, so points come out as in the frame."""
    depth_mm = np.where(frame.patch > 0, frame.base_mm + frame.unit_mm * (frame.patch.astype(np.float32) - 1), 0)
    fx, fy, cx, cy = frame.camera
    (left, top), (height, width) = frame.origin, depth_mm.shape
    camera: Intrinsics = (fx, fy, cx - left, cy - top)
    observed = np.zeros(depth_mm.shape, bool) if frame.observed is None else frame.observed
    edges = {
        0: (left == 0, observed[:, :1]),
        1: (top == 0, observed[:1]),
        2: (left + width == size[0], observed[:, -1:]),
        3: (top + height == size[1], observed[-1:]),
    }
    border = any(at and int(edge.sum()) >= BORDER_PX for at, edge in edges.values())
    return Attempt(k, View(depth_mm.astype(np.float32), camera, "right"), frame.centre_mm, observed, border)
