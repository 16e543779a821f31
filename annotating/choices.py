"""What a call of annotate.py asks for. Nothing slow is imported here."""

import fnmatch
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from util.errors import UserError

AnnotatedName = Literal["nyu", "icvl", "msra", "shrec", "dhg", "folder"]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class Choices:
    """One call of annotate.py."""

    data_set: tyro.conf.Positional[AnnotatedName]
    """Whose frames; folder = depth images of one's own."""
    root: Path | None = None
    """The data set's folder. It is only read."""
    out: Path | None = None
    """Folder for everything that is written; unset = ROOT-annotated, beside it."""
    split: Literal["train", "test", "all"] = "all"
    """nyu, icvl, shrec: which split; all = those that are there."""
    subjects: tuple[int, ...] = ()
    """msra, shrec, dhg: these subjects only; unset = all."""
    views: tuple[int, ...] = (0,)
    """nyu: its cameras 0, 1, 2."""
    turned: Flag = False
    """icvl: also the training frames that are copies turned in the plane."""
    frames: int | None = None
    """The first so many frames of each recording only; rows of the others stay, as those of frames without a hand."""
    camera: tuple[float, float, float, float] | None = None
    """folder: fx, fy, cx, cy in pixels; unset = --sensor, or camera.json beside the images."""
    sensor: str | None = None
    """folder: a common sensor with its nominal values, as predict.py has them."""
    unit: float | None = None
    """folder: metres a stored unit; unset = the sensor's, else 0.001."""
    side: Literal["right", "left", "auto"] | None = None
    """folder: the hand that the images show; unset = what camera.json says, else right."""
    weights: Path | None = None
    """Weights of a network; unset = the shipped ones."""
    hand: Path | None = None
    """Hand model file that they were trained with; unset = the open hand."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""
    processes: int = 1
    """Processes of this machine that share the frames; under torchrun, its number counts."""
    refine: int = 0
    """Optimisation steps of each hand against its depth."""
    one_shape: Flag = False
    """One hand shape and size a subject: the median of its frames, with which all are read again."""
    joints: Literal["model", "pixel"] = "model"
    """Whose joints are written: those of the hand that meshes and parameters are of, or the pixel branch's, which no
    hand model holds together. Refinement and --one-shape change the former alone."""
    cube_mm: float | None = None
    """Edge of the cube around a hand; unset = the data set's own, 250 for a folder."""
    batch: int = 16
    """Frames that are read together."""
    shard: int = 256
    """Frames that are kept together: what a killed process loses at most."""
    meshes: tuple[Literal["ply", "obj", "glb"], ...] = ()
    """Write a mesh of each hand in these formats."""
    link_images: Flag = False
    """Put links to the images beside the new labels, so that the folder is a whole data set."""
    animate: str | None = None
    """Write an animation of the recordings whose name matches this pattern: 'P0/1', 'gesture_1/*/subject_2/*', '*'."""
    animate_frames: tuple[int, int] | None = None
    """Of each of them the frames from the first number to the second, from 0; unset = all, 200 at most."""
    rate: float = 10.0
    """Frames a second of animations."""

    def check(self) -> Path:
        """The data set's folder, when all that can be said before anything slow is imported is well.

        Raises:
            UserError: an option is out of range or does not go with the data set, or a path leads nowhere.
        """
        if self.root is None:
            raise UserError(f"Nothing says where {self.data_set} lies: add --root DIR.")
        if not self.root.is_dir():
            raise UserError(f"--root {self.root} is no folder: point it at the data set's.")
        for option, path in (("--weights", self.weights), ("--hand", self.hand)):
            if path is not None and not path.exists():
                raise UserError(f"{option} {path} does not exist: check the path.")
        least = {"--batch": self.batch, "--shard": self.shard, "--processes": self.processes, "--frames": self.frames}
        for option, number in least.items():
            if number is not None and number < 1:
                raise UserError(f"{option} {number} is less than 1: choose 1 or more.")
        if self.refine < 0 or not self.rate > 0 or not (self.cube_mm is None or 0 < self.cube_mm < math.inf):
            raise UserError(
                "--refine counts steps from 0, --rate frames a second, and --cube-mm is a length: mend them."
            )
        if self.animate_frames is not None and not 0 <= self.animate_frames[0] <= self.animate_frames[1]:
            raise UserError("--animate-frames takes the first and the last frame, from 0: swap or mend them.")
        if self.animate_frames is not None and self.animate is None:
            raise UserError("--animate-frames says which frames of --animate: add --animate PATTERN.")
        self._check_kind()
        return self.root

    def animates(self, sequence: str) -> bool:
        """Whether there is to be an animation of a recording."""
        return self.animate is not None and fnmatch.fnmatchcase(sequence, self.animate)

    def _check_kind(self) -> None:
        """Options that only some data sets have."""
        own = {
            "--split": (self.split != "all", ("nyu", "icvl", "shrec")),
            "--subjects": (self.subjects, ("msra", "shrec", "dhg")),
            "--views": (self.views != (0,), ("nyu",)),
            "--turned": (self.turned, ("icvl",)),
            "--link-images": (self.link_images, ("nyu", "icvl", "msra", "shrec", "dhg")),
            "--camera": (self.camera is not None, ("folder",)),
            "--sensor": (self.sensor is not None, ("folder",)),
            "--unit": (self.unit is not None, ("folder",)),
            "--side": (self.side is not None, ("folder",)),
        }
        for option, (given, data_sets) in own.items():
            if given and self.data_set not in data_sets:
                raise UserError(f"{option} is for {' and '.join(data_sets)}: leave it out for {self.data_set}.")
        if self.camera is not None and self.sensor is not None:
            raise UserError("--camera and --sensor both say what took the frames: leave one out.")
