"""Places that were read as hands, and which of a frame's readings is the answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from predicting.engine import EngineAnswer
from predicting.judge import complete
from predicting.prediction import Status
from predicting.sides import side_confidence
from predicting.views import Attempt, Hand

FITTING: tuple[Status, ...] = ("ok", "touches the border")
"""What a hand that explains the depth is called."""


@dataclass(frozen=True)
class Reading:
    """A place of a view, read and judged."""

    attempt: Attempt
    answer: EngineAnswer
    """Of this crop alone, with a batch of 1."""
    measures: dict[str, float]
    status: Status
    confidence: float

    @property
    def rank(self) -> tuple[bool, float]:
        """The greater, the better it explains the depth."""
        return self.status in FITTING, self.confidence

    @property
    def deserves_a_second(self) -> bool:
        """Whether it looks like a hand, though it was read badly."""
        return self.status == "poor fit" and self.measures["presence"] > 0 and complete(self.measures)


Search = tuple[Attempt, Iterator[Attempt]]
"""The likeliest place of a view, and the others, each looked for when it is asked for."""


def begun(searches: Iterable[Iterator[Attempt]]) -> list[Search]:
    """Searches with their first place found; those that find nothing are left out."""
    return [(first, search) for search in searches if (first := next(search, None)) is not None]


def chosen_side(readings: dict[Hand, Reading], log_odds: float) -> tuple[Reading | None, float]:
    """The reading of the likelier side, None where no side shows a hand; how sure the side is, 0 to 1.

    log_odds: that the hand is a right one; where only one side shows a hand, 0 is no doubt about it.
    """
    there: dict[Hand, Reading] = {side: one for side, one in readings.items() if one.status != "no hand"}
    if len(there) == 2:
        return there["right" if log_odds >= 0 else "left"], side_confidence(log_odds)
    if not there:
        return None, 1.0
    ((side, reading),) = there.items()
    return reading, side_confidence(max(0.0, sign_of(side) * log_odds)) if log_odds else 1.0


def sign_of(side: Hand) -> int:
    """1 for right, -1 for left."""
    return 1 if side == "right" else -1
