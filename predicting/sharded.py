"""Hands in many stored frames, shard by shard, in as many processes as there are; what was done is kept until the end.

Frames are read together in batches that their numbers decide, so what is said of a frame depends neither on who reads
it nor on where work was stopped. A frame's file, size and time are part of its name in the shards, and settings and
weights are what the shards are about: what does not fit is read anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from tqdm import tqdm

from dataloader.sources import StoredFrames
from predicting.engine import SHIPPED
from predicting.estimator import HandEstimator
from predicting.prediction import JOINTS, PARAMETERS, VERTICES, HandPrediction, Side, Status
from predicting.presence import SHIPPED_PRESENCE
from predicting.sides import SHIPPED_SIDE
from render.at_rest import settle_faces
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.predictions import LARGEST
from util.processes import is_first, world
from util.shards import Columns, Shards, checksums, kinds

FOLDER = ".predictions.shards"
"""Where shards lie in the folder that predictions are written to, until these are there."""
WORDS = {"status": get_args(Status), "side": get_args(Side)}
NUMBERS = ("confidence", "cube_mm")
SHAPES = {"joints_mm": (JOINTS, 3), "vertices_mm": (VERTICES, 3), "params": (PARAMETERS,), "centre_mm": (3,)}
MEASURES = "measures"
"""Column of JSON texts: which measures a frame has differs, and their numbers are to come back to the last bit."""


def shards_of(
    frames: StoredFrames, out: Path, size: int, weights: Path | None, hand: Path | None, how: object
) -> Shards:
    """The shards of frames in the folder that predictions go to.

    Args:
        frames: what is read.
        out: the folder.
        size: frames of a shard, a multiple of a batch.
        weights: of the network, None = the shipped ones.
        hand: the hand model, None = the open one.
        how: all else that answers depend on; its repr tells whether it is the same.
    """
    about = checksums({"weights": weights or SHIPPED, "hand": hand, "side": SHIPPED_SIDE, "presence": SHIPPED_PRESENCE})
    rules = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))
    about |= {"how": repr(how), "optics": repr(frames.optics), "rules": rules.hexdigest()}
    return Shards(out / FOLDER, frames.stamps(), size, about, sound=are_predictions)


def predict_shards(
    shards: Shards, frames: StoredFrames, estimator: HandEstimator, batch: int, hand: Path | None
) -> None:
    """Do what is missing of the shards, in every process.

    Args:
        shards: of `shards_of`.
        frames: those that they are of.
        estimator: reads hands.
        batch: frames that are read together.
        hand: the hand model, None = the open one.

    Raises:
        UserError: an image is missing or damaged, or the folder cannot be written to.
    """
    settle_faces(HandLayer(load_hand_model() if hand is None else load_hand_model(hand)), estimator.faces)
    todo = min(len(frames), len(shards.missing()) * shards.size // world())
    with tqdm(total=todo, unit="frame", disable=None if is_first() else True) as bar:

        def work(rows: list[int]) -> Columns:
            return columns_of(_watched(estimator.frames((frames[row] for row in rows), batch), bar.update))

        shards.run(work)


def _watched(hands: Iterable[HandPrediction], one_more: Callable[[], object]) -> Iterator[HandPrediction]:
    for hand in hands:
        one_more()
        yield hand


def columns_of(hands: Iterable[HandPrediction]) -> Columns:
    """A row a hand, without the frames' names."""
    hands = list(hands)
    columns: Columns = {name: np.array([getattr(hand, name) for hand in hands], np.str_) for name in WORDS}
    columns |= {name: np.array([getattr(hand, name) for hand in hands], np.float64) for name in NUMBERS}
    for name, shape in SHAPES.items():
        columns[name] = np.array([getattr(hand, name) for hand in hands], np.float32).reshape(-1, *shape)
    columns[MEASURES] = np.array(
        [json.dumps({k: float(v) for k, v in hand.measures.items()}) for hand in hands], np.str_
    )
    return columns


def are_predictions(columns: Columns) -> bool:
    """Whether these are columns of `columns_of`, as far as one can tell."""
    wanted = dict.fromkeys((*WORDS, MEASURES), ("U", ())) | dict.fromkeys(NUMBERS, ("f", ()))
    wanted |= {name: ("f", shape) for name, shape in SHAPES.items()}
    if kinds(columns) != wanted:
        return False
    if any(set(columns[name].tolist()) - set(known) for name, known in WORDS.items()):
        return False
    if not ((columns["confidence"] >= 0) & (columns["confidence"] <= 1) & (columns["cube_mm"] > 0)).all():
        return False
    if any((np.abs(columns[name]) > LARGEST).any() for name in (*SHAPES, "cube_mm")):
        return False
    return all(_are_measures(text) for text in columns[MEASURES].tolist())


def predictions_of(columns: Columns, names: Sequence[str]) -> list[HandPrediction]:
    """The hands of such columns, one a name."""
    measures = [json.loads(text) for text in columns[MEASURES].tolist()]
    numbers = {name: columns[name].tolist() for name in (*WORDS, *NUMBERS)}
    return [
        HandPrediction(
            frame=name,
            **{key: column[row] for key, column in numbers.items()},
            **{key: columns[key][row] for key in SHAPES},
            measures=measures[row],
        )
        for row, name in enumerate(names)
    ]


def _are_measures(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(type(value) is float for value in found.values())
