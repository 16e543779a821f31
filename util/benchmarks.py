"""Benchmarks of labelled hands: joints, cameras and parts that published scores and prediction files go by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from util.errors import UserError
from util.joints import HANDS17, ICVL16, MSRA21, NYU14, JointSet
from util.predictions import CameraNumbers, JointFile

BenchmarkName = Literal["nyu", "icvl", "msra", "hands17"]
Reading = Literal["uvd", "xyz", "xyz-up"]
"""Pixels and mm; mm in the camera frame, y down; the same with y up, as NYU's and MSRA's own labels have it."""
READINGS: tuple[Reading, ...] = ("uvd", "xyz", "xyz-up")
CLEARLY = 0.5
"""A reading is told by itself when it leaves less than this share of the error that any other leaves."""


@dataclass(frozen=True)
class Benchmark:
    """What one data set's files of predictions mean."""

    name: BenchmarkName
    joints: JointSet
    camera: CameraNumbers
    """fx, fy, cx, cy of the images as stored, all positive: v grows downwards and so does our y."""
    size: tuple[int, int]
    """Width and height of the images."""
    labels: Reading
    """What the data set's own label files hold."""
    part: str = ""
    """What its frames are divided by."""
    part_frames: tuple[tuple[int, ...], ...] = ()
    """Frames of each part in order; more than one division where several versions of the data set circulate."""
    first_part: int = 1
    """Number of the first part."""
    subsets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Joints that are also scored on their own, by what the table calls them."""
    published_joints: tuple[int, ...] = ()
    """The joints that the published evaluation of self-supervised hands scores: it drops the last of every set (MSRA:
    the wrist too), so that its numbers are not those of other methods."""

    def groups(self, frames: int) -> tuple[str, ...]:
        """Part of each frame; empty for a number of frames that is no published split's."""
        for counts in self.part_frames:
            if sum(counts) == frames:
                numbers = range(self.first_part, self.first_part + len(counts))
                return tuple(f"{self.part} {n}" for n, count in zip(numbers, counts, strict=True) for _ in range(count))
        return ()

    def joints_mm(
        self, values: Float[np.ndarray, "frames joints 3"], reading: Reading
    ) -> Float[np.ndarray, "frames joints 3"]:
        """Numbers of a file in the camera frame, y down, in the orientation of the images as stored."""
        if reading == "xyz":
            return values
        if reading == "xyz-up":
            return values * (1.0, -1.0, 1.0)
        fx, fy, cx, cy = self.camera
        return np.concatenate([(values[..., :2] - (cx, cy)) * values[..., 2:] / (fx, fy), values[..., 2:]], axis=-1)

    def labels_mm(self, file: JointFile, reading: Reading | None = None) -> Float[np.ndarray, "frames joints 3"]:
        """True joints of a file, read as it says itself, or as `reading`, or as the data set's own labels are.

        Raises:
            UserError: numbers read as pixels lie outside the image.
        """
        reading = file.kind or reading or self.labels
        if reading == "uvd":
            middle = file.values[..., :2].mean(axis=1)
            if ((middle < 0) | (middle > self.size)).any():
                raise UserError(
                    f"{file.path} holds joints outside the {self.size[0]}x{self.size[1]} image when read as pixels: if "
                    "they are millimetres, add --truth-format xyz (y down) or xyz-up."
                )
        return self.joints_mm(file.values, reading)

    def predictions_mm(
        self, file: JointFile, true_mm: Float[np.ndarray, "frames joints 3"], reading: Reading | None = None
    ) -> tuple[Float[np.ndarray, "frames joints 3"], Reading]:
        """Predicted joints of a file, and how it was read: as it says itself, as `reading`, or else told by the labels.

        uvd and xyz have the same columns. All readings are held against the labels, and the nearest is taken where it
        leaves less than half of the mean error of every other: pixels taken for millimetres, or the other way round,
        put hands decimetres off, which no joint error hides.

        Raises:
            UserError: the readings are too close to each other to tell.
        """
        told = file.kind or reading
        if told is not None:
            return self.joints_mm(file.values, told), told
        found: list[tuple[float, Reading]] = []
        for candidate in READINGS:
            away = np.linalg.norm(self.joints_mm(file.values, candidate) - true_mm, axis=-1)
            found.append((float(np.nanmean(away)), candidate))
        (best, chosen), (second, other) = sorted(found)[:2]
        if not best < CLEARLY * second:
            raise UserError(
                f"{file.path} is {best:.0f} mm off the labels when read as {chosen} and {second:.0f} mm as {other}, "
                "too close to tell: add --format uvd, xyz (mm, y down) or xyz-up."
            )
        return self.joints_mm(file.values, chosen), chosen


BENCHMARKS: dict[str, Benchmark] = {
    "nyu": Benchmark(
        name="nyu",
        joints=NYU14,
        camera=(588.03, 587.07, 320.0, 240.0),
        size=(640, 480),
        labels="uvd",
        part="subject",
        part_frames=((2440, 5812),),
        subsets={"first 11": tuple(range(11))},
        published_joints=tuple(range(11)),
    ),
    "icvl": Benchmark(
        name="icvl",
        joints=ICVL16,
        camera=(240.99, 240.96, 160.0, 120.0),
        size=(320, 240),
        labels="uvd",
        part="sequence",
        part_frames=((702, 894),),
        published_joints=tuple(range(15)),
    ),
    "msra": Benchmark(
        name="msra",
        joints=MSRA21,
        camera=(241.42, 241.42, 160.0, 120.0),
        size=(320, 240),
        labels="uvd",
        part="subject",
        part_frames=(
            (8499, 8499, 8406, 8498, 8500, 8497, 8498, 8498, 8496),
            (8499, 8492, 8412, 8488, 8500, 8497, 8497, 8498, 8492),
        ),
        first_part=0,
        published_joints=tuple(range(1, 20)),
    ),
    "hands17": Benchmark(
        name="hands17",
        joints=HANDS17,
        camera=(475.065948, 475.065857, 315.944855, 245.287079),
        size=(640, 480),
        labels="xyz",
    ),
}
"""All of them by name."""


def same_frames(file: JointFile, truth: Sequence[str]) -> None:
    """Check that a file that names its frames names those of the labels, in their order.

    Raises:
        UserError: a frame has another name.
    """
    if not file.frames or not truth:
        return
    for row, (found, wanted) in enumerate(zip(file.frames, truth, strict=True)):
        if found != wanted:
            raise UserError(
                f"{file.path} has frame {found} where the labels have {wanted} (row {row}): sort it as they are."
            )
