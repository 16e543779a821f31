"""SHREC'17 and DHG-14/28: skeletons of 22 joints, u v of the images as stored and x y z in metres, a row a frame.

A frame without a hand keeps its row, with zeros, which the loader reads as not known. x y z are of the camera of the
images as stored, x right, y down, z forward, so that u v are their projection. The palm is the mean of the keypoints.
DHG: all frames of a recording, those before and after the gesture too, as its own files have them.
"""

from pathlib import Path

from annotating.annotations import Annotations
from annotating.choices import Choices
from annotating.formats.tables import lines_of, write_parameters
from annotating.place import Place
from annotating.source import Source
from config import DataConfig
from dataloader.datasets import dhg, shrec
from dataloader.datasets.gestures import NO_BOX, SIZE, Gesture, Layout, list_gestures
from dataloader.tables import read_lines
from util.errors import UserError
from util.files import write_text

IMAGE_DECIMALS, WORLD_DECIMALS = 4, 7
"""Of pixels and of metres."""
SUBJECT_COLUMN = 2
"""Of a list of gestures."""


def open_shrec(choices: Choices) -> list[Source]:
    """One source: the recordings of both lists, or of one.

    Raises:
        UserError: a list, a box file or a skeleton file is missing or damaged, or a subject is not there.
    """
    root = _root(choices)
    gestures = [gesture for name in _lists(root, choices.split) for gesture in shrec.read_gestures(root / name)]
    return [_source(gestures, shrec.LAYOUT, choices)]


def open_dhg(choices: Choices) -> list[Source]:
    """One source: whole recordings, which begin before and end after their gesture.

    Raises:
        UserError: the trimming file, a box file or a skeleton file is missing or damaged, or a subject is not there.
    """
    root = _root(choices)
    whole = []
    for gesture in dhg.read_gestures(root / dhg.TRIMMING):
        boxes = root / gesture.folder / dhg.LAYOUT.boxes
        rows = len(read_lines(boxes, dhg.LAYOUT.remedy))
        whole.append(Gesture(gesture.gesture, gesture.finger, gesture.subject, gesture.essai, rows))
    return [_source(whole, dhg.LAYOUT, choices)]


def write_shrec(source: Source, found: Annotations, place: Place) -> None:
    """Skeletons, hand parameters, and what the loader reads beside them: lists and boxes."""
    _write(source, found, place, shrec.LAYOUT)
    subjects = {int(subject.removeprefix("subject ")) for subject in source.subjects}
    for name in _lists(source.root, "all"):
        place.copy(name, subjects, SUBJECT_COLUMN)


def write_dhg(source: Source, found: Annotations, place: Place) -> None:
    """Skeletons, hand parameters, and what the loader reads beside them: boxes and the trimming file."""
    _write(source, found, place, dhg.LAYOUT)
    subjects = {int(subject.removeprefix("subject ")) for subject in source.subjects}
    place.copy(dhg.TRIMMING, subjects, SUBJECT_COLUMN)


def _write(source: Source, found: Annotations, place: Place, layout: Layout) -> None:
    joints_mm = found.joints_of("shrec22")
    image = lines_of(source.pixels(joints_mm)[..., :2].reshape(len(source), -1), IMAGE_DECIMALS)
    world = lines_of(source.as_stored(joints_mm).reshape(len(source), -1) / 1000, WORLD_DECIMALS)
    for folder, rows in source.rows_of().items():
        write_text(place.path(f"{folder}/{layout.joints_image}"), "".join(f"{image[row]}\n" for row in rows))
        write_text(place.path(f"{folder}/{layout.joints_world}"), "".join(f"{world[row]}\n" for row in rows))
        place.copy(f"{folder}/{layout.boxes}")
    write_parameters(place, source.name, found)


def _source(gestures: list[Gesture], layout: Layout, choices: Choices) -> Source:
    root = _root(choices)
    once = list({gesture.folder: gesture for gesture in gestures}.values())
    there = {gesture.subject for gesture in once}
    if missing := sorted(set(choices.subjects) - there):
        known = ", ".join(map(str, sorted(there)))
        raise UserError(f"{root} has no subject {missing[0]}: choose from {known}.")
    once = [gesture for gesture in once if not choices.subjects or gesture.subject in choices.subjects]
    name = "shrec" if layout.data_set == "shrec" else "dhg"
    config = DataConfig(name=name, root=root, cube_mm=choices.cube_mm)
    listing = list_gestures(once, layout, root, config, "train")
    frames = [(gesture, layout.first_image + k) for gesture in once for k in range(gesture.n_frames)]
    if not frames:
        raise UserError(f"{root} lists no frame: {layout.remedy}.")
    return Source.of_listing(
        name,
        listing,
        [f"{gesture.folder}/{layout.image.format(number)}" for gesture, number in frames],
        [gesture.folder for gesture, _ in frames],
        [f"subject {gesture.subject}" for gesture, _ in frames],
        SIZE,
        NO_BOX,
    )


def _lists(root: Path, split: str) -> list[str]:
    """Lists of gestures of a split; of both, the training list must be there unless the other one is."""
    if split != "all":
        return [shrec.LISTS["train" if split == "train" else "test"]]
    there = [name for name in shrec.LISTS.values() if (root / name).is_file()]
    return there or [shrec.LISTS["train"]]


def _root(choices: Choices) -> Path:
    assert choices.root is not None
    return choices.root
