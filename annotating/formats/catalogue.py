"""Formats by the name of their data set."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from annotating.annotations import Annotations
from annotating.choices import AnnotatedName, Choices
from annotating.formats.folder import open_folder, write_folder
from annotating.formats.gestures import open_dhg, open_shrec, write_dhg, write_shrec
from annotating.formats.icvl import open_icvl, write_icvl
from annotating.formats.msra import open_msra, write_msra
from annotating.formats.nyu import open_nyu, write_nyu
from annotating.place import Place
from annotating.source import Source


class Format(NamedTuple):
    """How a data set's frames are found, and its own files written."""

    open: Callable[[Choices], list[Source]]
    write: Callable[[Source, Annotations, Place], None]


def format_of(choices: Choices) -> Format:
    """That of the data set that is asked for."""
    formats: dict[AnnotatedName, Format] = {
        "nyu": Format(open_nyu, write_nyu),
        "icvl": Format(open_icvl, write_icvl),
        "msra": Format(open_msra, write_msra),
        "shrec": Format(open_shrec, write_shrec),
        "dhg": Format(open_dhg, write_dhg),
        "folder": Format(open_folder, partial(write_folder, hand=choices.hand)),
    }
    return formats[choices.data_set]
