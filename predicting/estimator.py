"""Depth frames in, hands in millimetres out: find, crop, read, judge, choose.

A frame is looked at as its sides ask for (predicting/views.py). Each view's likeliest place is read first, that of one
view where looks alone tell the side (predicting/sides.py); where no hand fits there, the others are. What looks like a
hand (predicting/presence.py) and was read badly gets a second chance: its hand is refined against the depth and judged
anew. Among what was read the hand that the depth supports best is the answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import compress, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from dataloader.camera import Camera
from dataloader.crop import HandCrop
from dataloader.find_hands import find_hands
from dataloader.frame import DepthFrame
from dataloader.locate import Intrinsics
from dataloader.named_cameras import nominal_intrinsics
from dataloader.rendered import visible_centre
from predicting.engine import Engine, EngineAnswer, TorchEngine
from predicting.judge import REFINED_WEIGHTS, judge, measure
from predicting.prediction import HandPrediction, no_hand
from predicting.presence import PresenceReader
from predicting.reading import FITTING, Reading, Search, begun, chosen_side, sign_of
from predicting.refine import Refinement, Refinements
from predicting.sides import SURE, SideReader, limited, right_log_odds
from predicting.smooth_things import quadric_mm
from predicting.views import Attempt, Hand, View, crops_of
from util.ahead import one_ahead
from util.errors import UserError

SIDES: dict[str, tuple[Hand, ...]] = {"right": ("right",), "left": ("left",), "auto": ("right", "left")}
"""What is read for each choice of a side."""
SIDE_STEPS = 10
"""Optimisation steps of both hands before the sides are compared."""
SECOND_STEPS = 20
"""Optimisation steps of what looks like a hand and was read so badly that its fit is poor."""
CUBE_MM = 250.0
"""Edge of the cube around a hand."""
CANDIDATES = 3
"""Places of a frame that are read at most, for each side."""


class HandEstimator:
    """Hands in depth frames.

    estimator = HandEstimator(side="auto")
    hand = estimator(depth_mm, (fx, fy, cx, cy))
    """

    def __init__(
        self,
        weights: Path | str | None = None,
        side: str = "right",
        refine: int = 0,
        *,
        hand: Path | str | None = None,
        engine: str | Engine = "torch",
        cube_mm: float = CUBE_MM,
        candidates: int = CANDIDATES,
        recrop: bool = False,
        device: str = "auto",
        held: tuple[str, ...] = (),
    ) -> None:
        """Load weights.

        Args:
            weights: of this project, published, or .onnx for the engine onnx; None = the shipped ones.
            side: the hand that frames show; auto = whichever explains the depth better.
            refine: optimisation steps of each hand against the depth.
            hand: file of the hand model that the weights were trained with; None = the open hand.
            engine: what runs the network.
            cube_mm: edge of the cube around a hand.
            candidates: places of a frame that are read at most.
            recrop: whether to read a second crop, centred on the hand that the first one showed.
            device: cpu, cuda, or auto.
            held: what optimisation leaves as it is, of shape and size.

        Raises:
            UserError: a file is absent or of another kind, an option is out of range, or the engine's package absent.
        """
        if side not in SIDES:
            raise UserError(f"--side {side} is no side: choose {', '.join(SIDES)}.")
        if refine < 0 or candidates < 1 or not cube_mm > 0:
            raise UserError("--refine counts steps from 0, --candidates from 1, and --cube-mm is a length: mend them.")
        self.sides = SIDES[side]
        self.cube_mm, self.candidates, self.recrop = float(cube_mm), candidates, recrop
        hand_file = None if hand is None else Path(hand)
        self.engine = make_engine(engine, None if weights is None else Path(weights), hand_file, device)
        self.faces = self.engine.faces
        self._looks = SideReader() if len(self.sides) == 2 else None
        self._presence = PresenceReader()
        self._refinements = Refinements(hand_file, held)
        self.steps = refine

    def __call__(self, depth_mm: np.ndarray, camera: Camera | Intrinsics | str, name: str = "") -> HandPrediction:
        """The hand in one frame.

        Args:
            depth_mm: (h, w), millimetres, 0 = no reading.
            camera: a camera, its fx, fy, cx, cy in pixels, or a sensor's name.
            name: of the frame.
        """
        if isinstance(camera, str):
            camera = nominal_intrinsics(camera, (depth_mm.shape[1], depth_mm.shape[0]))
        camera = camera if isinstance(camera, Camera) else Camera.of(*camera)
        return self.batch([DepthFrame(depth_mm, camera, name)])[0]

    def frames(self, frames: Iterable[DepthFrame], batch: int = 16) -> Iterator[HandPrediction]:
        """The hands of many frames, one answer a frame in their order; `batch` frames are read together.

        Frames are taken, and hands looked for in them, in a thread of its own, one batch ahead.
        """
        source = iter(frames)
        batches = iter(lambda: list(islice(source, batch)), [])
        for some, searches in one_ahead((some, self.search(some)) for some in batches):
            yield from self.answers(some, searches)

    def batch(self, frames: Sequence[DepthFrame]) -> list[HandPrediction]:
        """The hands of a few frames, all read together."""
        return self.answers(frames, self.search(frames))

    def search(self, frames: Sequence[DepthFrame]) -> list[Search]:
        """A search in each frame for each side, where there is anything to be read."""
        views = [(k, View.of(frame, side)) for k, frame in enumerate(frames) for side in self.sides]
        return begun(self.places(k, view) for k, view in views)

    def answers(self, frames: Sequence[DepthFrame], searches: Sequence[Search]) -> list[HandPrediction]:
        """The hands of frames in which hands were looked for, all read together."""
        best = self.read_best(searches)
        both = [best[k] for k in range(len(frames))]
        chosen = [chosen_side(sides, odds) for sides, odds in zip(both, self.side_odds(both), strict=True)]
        readings = self.refined([reading for reading, _ in chosen])
        return [
            self.predicted(frame, reading, sure)
            for frame, reading, (_, sure) in zip(frames, readings, chosen, strict=True)
        ]

    def places(self, frame: int, view: View) -> Iterator[Attempt]:
        """Places of a view that may be a hand, likeliest first; each is looked for when it is asked for."""
        found = find_hands(view.depth_mm, view.camera, self.cube_mm, self.candidates)
        return (Attempt(frame, view, place.centre_mm, place.observed, place.touches_border) for place in found)

    def read_best(self, searches: Sequence[Search], before: float = 0.0) -> dict[int, dict[Hand, Reading]]:
        """The best reading of each frame and side: its first place's where a hand fits there, else any place's.

        A side that it surely is not is left out where a hand of the other one fits, and what comes after a search's
        first place is looked for only in frames where no hand fits.

        before: log odds of a right hand that were known already.
        """
        best: dict[int, dict[Hand, Reading]] = defaultdict(dict)
        firsts = self.told([first for first, _ in searches], common=True)
        likely = [sign_of(place.view.side) * (place.looks_right + before) > -SURE for place in firsts]
        solved = self._read_into(best, list(compress(firsts, likely)))
        left_out = [place for place, read in zip(firsts, likely, strict=True) if not read and place.frame not in solved]
        later = [place for first, others in searches if first.frame not in solved for place in others]
        self._read_into(best, left_out + self.told(later))
        return best

    def _read_into(self, best: dict[int, dict[Hand, Reading]], attempts: Sequence[Attempt]) -> set[int]:
        """Read places, those that look like hands and fit poorly once more; returns frames in which a hand fits."""

        def solved() -> set[int]:
            return {frame for frame, of_side in best.items() if any(r.status in FITTING for r in of_side.values())}

        readings = self.read(attempts)
        self._keep(best, readings)
        there = solved()
        self._keep(best, self.second(r for r in readings if r.attempt.frame not in there and r.deserves_a_second))
        return solved()

    def second(self, readings: Iterable[Reading]) -> list[Reading]:
        """Readings refined against their depth, and judged as such."""
        better = self._improved(list(readings), self._refinements(SECOND_STEPS))
        return [
            replace(r, status=status, confidence=confidence)
            for r in better
            for status, confidence in [judge(r.measures, r.attempt.touches_border, REFINED_WEIGHTS)]
        ]

    def told(self, attempts: Sequence[Attempt], common: bool = False) -> list[Attempt]:
        """Places with the log odds of a right hand by their looks, if both sides may be the answer.

        common: whether they are the first places of their frames' sides, and get the mean of both; none where there is
        but one.
        """
        if self._looks is None or not attempts:
            return list(attempts)
        odds = np.array(self._looks(crops_of(attempts, self.cube_mm)[0].depth))
        odds *= [sign_of(attempt.view.side) for attempt in attempts]
        if common:
            frames = np.array([attempt.frame for attempt in attempts])
            same = frames[:, None] == frames
            odds = np.where(same.sum(1) == 2, (same * odds).sum(1) / 2, 0.0)
        return [
            replace(attempt, looks_right=limited(one)) for attempt, one in zip(attempts, odds.tolist(), strict=True)
        ]

    @staticmethod
    def _keep(best: dict[int, dict[Hand, Reading]], readings: Sequence[Reading]) -> None:
        for reading in readings:
            of_side, side = best[reading.attempt.frame], reading.attempt.view.side
            if side not in of_side or reading.rank > of_side[side].rank:
                of_side[side] = reading

    def read(self, attempts: Sequence[Attempt]) -> list[Reading]:
        """Read places as hands and judge them, all as one batch."""
        if not attempts:
            return []
        crop, observed = crops_of(attempts, self.cube_mm)
        answer = self.engine(crop)
        if self.recrop:
            centres = visible_centre(answer.vertices_mm, self.faces).tolist()
            attempts = [
                replace(attempt, centre_mm=tuple(centre)) for attempt, centre in zip(attempts, centres, strict=True)
            ]
            crop, observed = crops_of(attempts, self.cube_mm)
            answer = self.engine(crop)
        measures = self.measured(crop, answer, observed)
        for attempt, found in zip(attempts, measures, strict=True):
            smooth_mm = quadric_mm(attempt.view.depth_mm, attempt.view.camera, attempt.observed)
            found |= {} if smooth_mm is None else {"quadric_mm": smooth_mm}
        return [
            Reading(attempt, one, found, *judge(found, attempt.touches_border))
            for attempt, one, found in zip(attempts, _split(answer), measures, strict=True)
        ]

    def measured(
        self, crop: HandCrop, answer: EngineAnswer, observed: Bool[Tensor, "b 1 s s"]
    ) -> list[dict[str, float]]:
        """How fitted hands lie in their crops, and how much the crops look like hands, one dict a crop."""
        measures = measure(crop, *answer, observed, self.faces)
        for found, odds in zip(measures, self._presence(crop.depth).tolist(), strict=True):
            found["presence"] = odds
        return measures

    def improved(self, crop: HandCrop, observed: Bool[Tensor, "b 1 s s"], answer: EngineAnswer) -> EngineAnswer:
        """Answers refined as those of a second look are."""
        return self._refinements(SECOND_STEPS)(crop, observed, answer)

    def refined(self, readings: Sequence[Reading | None]) -> list[Reading | None]:
        """Readings with parameters refined against their depth, if that was asked for, and measured anew.

        Status and confidence stay what the network's own answer earned: given enough steps, a hand fits many things.
        """
        there = [reading for reading in readings if reading is not None]
        better = iter(self._improved(there, self._refinements(self.steps)) if self.steps else there)
        return [None if reading is None else next(better) for reading in readings]

    def side_odds(self, readings: Sequence[dict[Hand, Reading]]) -> list[float]:
        """Log odds that each frame's hand is a right one, 0 where nothing tells."""
        looks = [
            float(np.mean([r.attempt.looks_right for r in sides.values()])) if sides else 0.0 for sides in readings
        ]
        return [
            limited(odds) if pair is None else right_log_odds(odds, *pair)
            for odds, pair in zip(looks, self.compared(readings), strict=True)
        ]

    def compared(
        self, readings: Sequence[dict[Hand, Reading]]
    ) -> list[tuple[dict[str, float], dict[str, float]] | None]:
        """Measures of each frame's right and left hand, both refined: the wrong one stays worse wherever it started.

        None where not both sides were read as hands.
        """
        hands = [[r for r in (sides.get(side) for side in SIDES["auto"]) if r is not None] for sides in readings]
        both = [len(pair) == 2 and all(r.status != "no hand" for r in pair) for pair in hands]
        pairs = [pair for pair, there in zip(hands, both, strict=True) if there]
        if self._looks is None or not pairs:
            return [None] * len(readings)
        better = self._improved([r for pair in pairs for r in pair], self._refinements(SIDE_STEPS))
        fine = [reading.measures for reading in better]
        measured = iter(zip(fine[::2], fine[1::2], strict=True))
        return [next(measured) if there else None for there in both]

    def _improved(self, readings: Sequence[Reading], refine: Refinement) -> list[Reading]:
        """Readings with refined parameters, and measured anew."""
        if not readings:
            return []
        crop, observed = crops_of([reading.attempt for reading in readings], self.cube_mm)
        parts = zip(*(reading.answer for reading in readings), strict=True)
        answer = refine(crop, observed, EngineAnswer(*(torch.cat(part) for part in parts)))
        measures = measure(crop, *answer, observed, self.faces)
        return [
            replace(reading, answer=one, measures=reading.measures | found)
            for reading, one, found in zip(readings, _split(answer), measures, strict=True)
        ]

    def predicted(self, frame: DepthFrame, reading: Reading | None, sure: float = 1.0) -> HandPrediction:
        """The answer for a frame; sure: of the side, 0 to 1."""
        if reading is None:
            return no_hand(frame.name, self.cube_mm)
        view, answer = reading.attempt.view, reading.answer
        return HandPrediction(
            frame=frame.name,
            status=reading.status,
            confidence=reading.confidence * sure,
            side=view.side,
            joints_mm=view.carried_back(answer.joints_mm[0].numpy()),
            vertices_mm=view.carried_back(answer.vertices_mm[0].numpy()),
            params=answer.params[0].numpy(),
            centre_mm=view.carried_back(np.array(reading.attempt.centre_mm, np.float32)),
            cube_mm=self.cube_mm,
            measures=reading.measures,
        )


def _split(answer: EngineAnswer) -> list[EngineAnswer]:
    """Answers of each crop alone, with a batch of 1."""
    return [EngineAnswer(*parts) for parts in zip(*(part.split(1) for part in answer), strict=True)]


def make_engine(engine: str | Engine, weights: Path | None, hand: Path | None, device: str) -> Engine:
    """An engine by name, or the one given.

    Raises:
        UserError: there is none of this name, its package is absent, or its weights are absent or of another kind.
    """
    if not isinstance(engine, str):
        return engine
    if engine == "torch":
        return TorchEngine(weights, hand, device)
    if engine == "onnx":
        if weights is None:
            raise UserError(
                "The engine onnx runs an exported network: write one with python export.py, give --weights."
            )
        from predicting.onnx_engine import OnnxEngine  # an optional package

        return OnnxEngine(weights, hand)
    raise UserError(f"There is no engine {engine!r}: choose torch or onnx.")
