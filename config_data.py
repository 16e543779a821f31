"""Settings of data sets: which frames are read, how they are cropped, where prepared frames are kept (dataloader/)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DataSetName = Literal["demo", "benchmark", "nyu", "icvl", "msra", "hands17", "shrec", "dhg", "frames"]

DATA_SET_TITLES: dict[DataSetName, str] = {
    "nyu": "NYU",
    "icvl": "ICVL",
    "msra": "MSRA",
    "hands17": "HANDS 2017",
    "shrec": "SHREC'17",
    "dhg": "DHG-14/28",
    "frames": "a folder of one's own frames",
}
"""Those that are read from a folder, as they are called in sentences."""


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of real crops (dataloader/augment.py)."""

    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """How often a crop is turned, shifted, resized, or left alone; relative."""
    rotation_deg: float = 180.0
    """Largest in-plane rotation, either way."""
    shift_mm: float = 10.0
    """Largest shift of the crop's centre along each axis."""
    cube_factor: tuple[float, float] = (0.8, 1.2)
    """Range of the factor on the cube's edges."""
    discs: int = 0
    """Largest number of discs cut out of what a network sees of a crop (self-supervision); published 0."""
    disc_radius: float = 0.2
    """Their largest radius, half crops."""


@dataclass(frozen=True)
class NyuConfig:
    """Which part of NYU is read."""

    views: tuple[int, ...] = (0,)
    """Its three cameras: 0, 1, 2."""
    synthetic: bool = False
    """Its rendered frames (synthdepth_*) instead of the sensor's."""
    joints: Literal["nyu14", "mano21"] = "nyu14"
    """The 14 joints that are evaluated, or the 21 keypoints of the hand model out of its 36."""


@dataclass(frozen=True)
class IcvlConfig:
    """Which part of ICVL is read."""

    sub_sequences: Literal["0", "all"] = "0"
    """To train on: the frames as recorded, as published, or also those turned in the plane."""


@dataclass(frozen=True)
class ShrecConfig:
    """How SHREC'17 is split."""

    split: Literal["subjects", "lists"] = "subjects"
    """By data.test_subjects, or by its own train_gestures.txt and test_gestures.txt."""


@dataclass(frozen=True)
class DataConfig:
    """Which real (or simulated-real) frames are read (dataloader/)."""

    name: DataSetName = "demo"
    """The data set."""
    root: Path | None = None
    """Its folder; not needed for demo and benchmark, which are made."""
    test_subjects: tuple[int, ...] | None = None
    """Subjects whose frames are only ever tested on; unset = the data set's (SHREC'17 2 9 16 25, DHG 1, MSRA 0)."""
    train_subjects: tuple[int, ...] = ()
    """Subjects to train on; empty = all that are not tested on."""
    cube_mm: float | None = None
    """Edge of the cube cropped around a hand; unset = the data set's own (NYU, SHREC'17, DHG and frames 250, ICVL and
    HANDS 2017 200, MSRA by subject)."""
    min_pixels: int | None = None
    """Frames whose crop shows fewer pixels of the hand are left out, and counted; unset = 600 where nobody labelled the
    frames, and every frame of a labelled data set is kept."""
    drop_empty: bool = False
    """Labelled data sets: leave out, and count, frames that show nothing inside their cube; else they are an error."""
    workers: int = 2
    """Processes that prepare frames the first time."""
    keep: bool = True
    """Keep prepared frames on disk, so that they are decoded once; otherwise they are prepared anew by each run."""
    cache: Path | None = None
    """Folder for prepared frames; unset = a folder .prepared in the data set's own (benchmark: runs/.prepared)."""
    follow_links: bool = False
    """Read images that links in the data set's folder take from outside it; else such a link is an error."""
    nyu: NyuConfig = field(default_factory=NyuConfig)
    """NYU only."""
    icvl: IcvlConfig = field(default_factory=IcvlConfig)
    """ICVL only."""
    shrec: ShrecConfig = field(default_factory=ShrecConfig)
    """SHREC'17 only."""
