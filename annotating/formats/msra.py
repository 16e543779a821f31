"""MSRA: joint.txt of each subject and posture, 63 numbers a frame, mm, y up, z negative.

A frame without a hand keeps its line, with zeros; in the files of centres, one a subject, it is `invalid`.
"""

import numpy as np

from annotating.annotations import Annotations
from annotating.choices import Choices
from annotating.formats.tables import centres_of, lines_of, write_centres, write_parameters
from annotating.place import Place
from annotating.source import Source
from config import DataConfig
from dataloader.datasets.msra import SIZE, installed_frames, list_msra
from util.errors import UserError
from util.files import write_text

DECIMALS = 4
"""Of millimetres."""


def open_msra(choices: Choices) -> list[Source]:
    """One source: all subjects that are there, or those asked for.

    Raises:
        UserError: see `list_msra`; or a subject is not there.
    """
    assert choices.root is not None
    there = tuple(installed_frames(choices.root))
    subjects = tuple(sorted(set(choices.subjects))) or there
    if not there:
        raise UserError(f"{choices.root} has no subject P0 to P8: point --root at the unpacked MSRA data set.")
    if missing := sorted(set(subjects) - set(there)):
        raise UserError(f"{choices.root} has no subject {missing[0]}: choose from {', '.join(map(str, there))}.")
    config = DataConfig(name="msra", root=choices.root, cube_mm=choices.cube_mm, test_subjects=subjects)
    listing = list_msra(config, "test")
    sequences = [file.rpartition("/")[0] for file in listing.files]
    return [Source.of_listing("msra", listing, listing.files, sequences, listing.groups, SIZE)]


def write_msra(source: Source, found: Annotations, place: Place) -> None:
    """joint.txt of each posture, centres of each subject, hand parameters of all."""
    up = np.array([1.0, -1.0, -1.0])
    numbers = lines_of((found.joints_of("msra21") * up).reshape(len(source), -1), DECIMALS)
    for folder, rows in source.rows_of().items():
        lines = [str(len(rows)), *(numbers[row] for row in rows)]
        write_text(place.path(f"{folder}/joint.txt"), "\n".join(lines) + "\n")
    centres_mm = centres_of(found) * np.array([1.0, -1.0, 1.0])
    of_subject = np.array(source.subjects)
    for subject in dict.fromkeys(source.subjects):
        number = subject.removeprefix("subject ")
        write_centres(place, f"center_test_{number}_refined.txt", centres_mm[of_subject == subject])
    write_parameters(place, source.name, found)
