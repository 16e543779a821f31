"""Which recorded gestures are learned from, selected on and tested on: no subject is ever in two of the three.

Labels are SHREC'17's own: class of 14 = gesture, 1 to 14; class of 28 = 2 (gesture - 1) + finger, 1 to 28. Networks and
confusion matrices count classes from 0, in this order. DHG-14/28 has no list of labels, and gesture + 14 (finger - 1)
is in use for it too: ours is the same 2 (gesture - 1) + finger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config_gesture import GestureDataConfig
from dataloader.datasets import dhg, shrec
from dataloader.datasets.gestures import Gesture, Layout
from util.errors import UserError

LAYOUTS: dict[str, Layout] = {"shrec": shrec.LAYOUT, "dhg": dhg.LAYOUT}

GESTURES = (
    *("grab", "tap", "expand", "pinch", "rotation clockwise", "rotation counter-clockwise", "swipe right"),
    *("swipe left", "swipe up", "swipe down", "swipe x", "swipe +", "swipe v", "shake"),
)
"""What gestures 1 to 14 are called."""


@dataclass(frozen=True)
class Split:
    """Gestures by what they are for."""

    train: tuple[Gesture, ...]
    validation: tuple[Gesture, ...]
    """Empty when no subject is kept apart."""
    test: tuple[Gesture, ...]

    def subjects(self) -> dict[str, list[int]]:
        """Sorted subjects of each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: sorted({g.subject for g in part}) for name, part in parts.items()}


def label(gesture: Gesture, classes: int) -> int:
    """Class of a gesture counted from 0; classes: 14 or 28."""
    return (gesture.label14 if classes == 14 else gesture.label28) - 1


def class_names(classes: int) -> list[str]:
    """What the classes are called; of 28 every second is made with one finger, the others with the whole hand."""
    if classes == 14:
        return list(GESTURES)
    return [f"{name} {how}" for name in GESTURES for how in ("(1)", "(2)")]


def make_split(config: GestureDataConfig, select: str = "validation") -> Split:
    """The split that the settings name.

    select: with "test" nobody is kept apart to select on, and all training subjects are learned from.

    Raises:
        UserError: no root, a list is missing or damaged, its labels are others than ours, the protocol is of another
            data set, there is no such fold, too few subjects are left, or lists share a subject.
    """
    root = gesture_root(config)
    if config.protocol == "lists":
        if config.name != "shrec":
            raise UserError("data.protocol lists is SHREC'17's own: choose folds or leave-one-out for DHG-14/28.")
        train, test = (_shrec_list(root / shrec.LISTS[part]) for part in ("train", "test"))
        if shared := {g.subject for g in train} & {g.subject for g in test}:
            raise UserError(
                f"Subject {min(shared)} is in both {root / shrec.LISTS['train']} and {shrec.LISTS['test']}: choose "
                "--data.protocol folds, which holds subjects out."
            )
    else:
        gestures = _all_gestures(config, root)
        held_out = set(_held_out(config, sorted({gesture.subject for gesture in gestures})))
        train = [gesture for gesture in gestures if gesture.subject not in held_out]
        test = [gesture for gesture in gestures if gesture.subject in held_out]
    if select == "test":
        return _checked(Split(tuple(train), (), tuple(test)), root)
    kept = set(_kept_apart(sorted({gesture.subject for gesture in train}), config.validation_subjects))
    split = Split(
        tuple(gesture for gesture in train if gesture.subject not in kept),
        tuple(gesture for gesture in train if gesture.subject in kept),
        tuple(test),
    )
    return _checked(split, root)


def gesture_root(config: GestureDataConfig) -> Path:
    """Folder of the data set.

    Raises:
        UserError: it is not set, or no folder.
    """
    title = LAYOUTS[config.name].title
    if config.root is None:
        raise UserError(f"--data.root is not set: point it at the folder of {title}.")
    if not config.root.is_dir():
        raise UserError(f"--data.root {config.root} is no folder: point it at the folder of {title}.")
    return config.root


def _all_gestures(config: GestureDataConfig, root: Path) -> list[Gesture]:
    if config.name == "shrec":
        return _shrec_list(root / shrec.LISTS["train"])
    return dhg.read_gestures(root / dhg.TRIMMING)


def _shrec_list(path: Path) -> list[Gesture]:
    """A list of SHREC'17, whose labels must be those that gesture and finger give."""
    gestures = shrec.read_gestures(path)
    rows = shrec.read_whole(path, 7, shrec.LAYOUT.remedy)
    for gesture, row in zip(gestures, rows.tolist(), strict=True):
        if (gesture.label14, gesture.label28) != (row[4], row[5]):
            raise UserError(
                f"{path} gives gesture {gesture.gesture}, finger {gesture.finger} the labels {row[4]} and {row[5]}, "
                f"where {gesture.label14} and {gesture.label28} belong: {shrec.LAYOUT.remedy}."
            )
    return gestures


def _held_out(config: GestureDataConfig, subjects: Sequence[int]) -> Sequence[int]:
    number = len(subjects) if config.protocol == "leave-one-out" else config.folds
    if not 0 <= config.fold < number or number > len(subjects):
        raise UserError(
            f"data.fold {config.fold} is none of {number} folds of {len(subjects)} subjects: choose 0 to "
            f"{min(number, len(subjects)) - 1}, and no more folds than subjects."
        )
    return subjects[config.fold :: number]


def _kept_apart(subjects: Sequence[int], number: int) -> list[int]:
    """Subjects spread over the sorted ids, the same for every seed."""
    if not 0 < number < len(subjects):
        raise UserError(
            f"data.validation_subjects {number} leaves nobody to learn from or to select on among {len(subjects)} "
            f"training subjects: choose 1 to {len(subjects) - 1}, or select on the test set with --select test."
        )
    return [subjects[(2 * k + 1) * len(subjects) // (2 * number)] for k in range(number)]


def _checked(split: Split, root: Path) -> Split:
    for name, part in (("train", split.train), ("test", split.test)):
        if not part:
            raise UserError(f"{root} has no gestures for the {name} split: check its lists and data.protocol.")
    return split
