"""All sequences of a split in one tensor, served as batches read at evenly spaced times."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from config_gesture import GestureDataConfig
from dataloader.datasets.gestures import Gesture
from gesture.augment import Augmentation
from gesture.skeletons import find_file, read_skeletons
from gesture.splits import gesture_root, label
from util.joints import JOINT_SETS

LOG = logging.getLogger(__name__)

UNIT_MM = 100.0
"""Length that batches call 1."""


@dataclass(frozen=True)
class SequenceBank:
    """n sequences of different lengths, f frames in all, each of p joints or points."""

    values: Float[Tensor, "f p 3"]
    """Positions, one sequence behind another; 0 is the mean of its first frame, `UNIT_MM` is 1."""
    starts: Int[Tensor, " n"]
    """First frame of each sequence."""
    lengths: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]
    """Classes from 0."""
    filled: int = 0
    """Frames that were interpolated, in all."""
    empty: int = 0
    """Sequences without a hand: not learned from, but kept to be tested on."""

    def __len__(self) -> int:
        return len(self.starts)

    @staticmethod
    def of(sequences: Sequence[Float[Tensor, "_ p 3"]], labels: Sequence[int], **rest: int) -> "SequenceBank":
        """From positions in mm, each sequence about the mean of its first frame."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        centred = [(sequence - sequence[0].mean(0)) / UNIT_MM for sequence in sequences]
        return SequenceBank(torch.cat(centred), lengths.cumsum(0) - lengths, lengths, torch.tensor(labels), **rest)

    def to(self, device: torch.device) -> "SequenceBank":
        """On a device."""
        values, starts, lengths, labels = (x.to(device) for x in (self.values, self.starts, self.lengths, self.labels))
        return SequenceBank(values, starts, lengths, labels, self.filled, self.empty)

    def times(
        self, chosen: Int[Tensor, " b"], frames: int, jitter: Float[Tensor, "b frames"] | None = None
    ) -> Float[Tensor, "b frames"]:
        """Evenly spaced places in the chosen sequences, frames from their first; jitter: in shares of the spacing."""
        last = (self.lengths[chosen] - 1).unsqueeze(1).to(self.values.dtype)
        share = torch.linspace(0, 1, frames, device=self.values.device).expand(len(chosen), -1)
        if jitter is not None:
            share = (share + jitter / max(frames - 1, 1)).clamp(0, 1).sort(1).values
        return share * last

    def joints(
        self, chosen: Int[Tensor, " b"], frames: int, augment: Augmentation | None = None
    ) -> Float[Tensor, "b frames p 3"]:
        """Joints of the chosen sequences, interpolated between frames."""
        jitter = None if augment is None else augment.jitter(len(chosen), frames).to(self.values.device)
        time = self.times(chosen, frames, jitter)
        before = time.long()
        after = torch.minimum(before + 1, self.lengths[chosen].unsqueeze(1) - 1)
        start = self.starts[chosen].unsqueeze(1)
        share = (time - before).unsqueeze(-1).unsqueeze(-1)
        read = torch.lerp(self.values[start + before], self.values[start + after], share)
        return read if augment is None else augment.moved(read, UNIT_MM)

    def points(
        self,
        chosen: Int[Tensor, " b"],
        frames: int,
        number: int,
        augment: Augmentation | None = None,
    ) -> Float[Tensor, "b frames number 3"]:
        """Points of the chosen sequences' nearest frames: evenly spread over those stored, or any when augmented."""
        jitter = None if augment is None else augment.jitter(len(chosen), frames).to(self.values.device)
        at = self.starts[chosen].unsqueeze(1) + self.times(chosen, frames, jitter).round().long()
        stored = self.values.shape[1]
        if augment is None:
            some = torch.arange(number, device=at.device) * stored // number
        else:
            some = torch.randperm(stored, generator=augment.generator).to(at.device)[:number]
        read = self.values[at.unsqueeze(-1), some]
        return read if augment is None else augment.moved(read, UNIT_MM)


def skeleton_bank(config: GestureDataConfig, gestures: Sequence[Gesture], learn: bool) -> SequenceBank:
    """Skeletons of recorded gestures; learn: leave out those that show no hand at all.

    Raises:
        UserError: a file is missing or damaged.
    """
    root, wanted = config.skeletons or gesture_root(config), JOINT_SETS[config.joints]
    sequences, labels, filled, empty = [], [], 0, 0
    for gesture in gestures:
        read = read_skeletons(find_file(root / gesture.folder, config.file), gesture, wanted)
        empty += read.empty
        filled += 0 if read.empty else read.filled
        if read.empty and learn:
            continue
        sequences.append(torch.from_numpy(read.joints_mm))
        labels.append(label(gesture, config.classes))
    if filled or empty:
        LOG.info(
            "%s: %d frames of %d sequences show no hand and are interpolated; %d sequences show none at all.",
            root,
            filled,
            len(gestures),
            empty,
        )
    return SequenceBank.of(sequences, labels, filled=filled, empty=empty)
