"""ICVL: label lines `name u v d x16`, in label files of the layout that the data set is in.

A frame without a hand keeps its line, with zeros, and is `invalid` in the file of centres, so that the loader leaves it
out and counts it. Of the training frames, copies turned in the plane are only there with --turned.
"""

from annotating.annotations import Annotations
from annotating.choices import Choices
from annotating.formats.tables import centres_of, lines_of, write_centres, write_parameters
from annotating.place import Place
from annotating.source import Source
from config import DataConfig, IcvlConfig
from dataloader.datasets.icvl import INVALID, REMEDY, SIZE, as_recorded, label_files, list_icvl
from dataloader.tables import read_lines
from util.errors import UserError
from util.files import write_text

DECIMALS = 4
"""Of pixels and mm."""


def open_icvl(choices: Choices) -> list[Source]:
    """A source a split.

    Raises:
        UserError: see `list_icvl`.
    """
    assert choices.root is not None
    config = DataConfig(
        name="icvl", root=choices.root, cube_mm=choices.cube_mm, icvl=IcvlConfig("all" if choices.turned else "0")
    )
    found = []
    for split in ("train", "test") if choices.split == "all" else (choices.split,):
        try:
            labels = label_files(choices.root, split)
        except UserError:
            if choices.split != "all" or (split == "test" and not found):
                raise
            continue
        files, sequences, subjects = [], [], []
        for path, folder in labels:
            for _, text in read_lines(path, REMEDY):
                name = text.split(maxsplit=1)[0]
                if split == "test" or choices.turned or as_recorded(name):
                    files.append(f"{folder}/{name}")
                    sequences.append(path.relative_to(choices.root).as_posix())
                    subjects.append(f"{split} {name.split('/')[0]}")
        listing = list_icvl(config, split)
        found.append(Source.of_listing(f"icvl-{split}", listing, files, sequences, subjects, SIZE, INVALID))
    return found


def write_icvl(source: Source, found: Annotations, place: Place) -> None:
    """Label files, centres and hand parameters of a split."""
    split = source.name.removeprefix("icvl-")
    uvd = source.pixels(found.joints_of("icvl16")).reshape(len(source), -1)
    numbers = lines_of(uvd, DECIMALS)
    for path, folder in label_files(source.root, split):
        relative = path.relative_to(source.root).as_posix()
        rows = source.rows_of().get(relative, [])
        lines = (f"{source.files[row].removeprefix(f'{folder}/')} {numbers[row]}\n" for row in rows)
        write_text(place.path(relative), "".join(lines))
    write_centres(place, f"center_{split}_refined.txt", source.as_stored(centres_of(found)))
    write_parameters(place, source.name, found)
