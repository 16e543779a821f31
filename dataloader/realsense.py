"""Frames of a RealSense sensor at this machine, as it takes them; needs the package pyrealsense2.

The sensor says its own intrinsics and its unit of depth. It counts pixels from their centres at whole numbers, this
project from their corners, so half a pixel is added to its principal point.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from dataloader.camera import Camera
from dataloader.frame import DepthFrame, depth_from
from dataloader.locate import Intrinsics
from util.errors import UserError
from util.optional import optional

SOURCE = "realsense"
"""What the source is called on the command line."""
PIXEL_CENTRE = 0.5


def live_frames(
    size: tuple[int, int] | None = None, rate: int = 30, most: int | None = None, package: Any = None
) -> Iterator[DepthFrame]:
    """Depth frames, newest last, until `most` of them were taken or the iteration is closed; then the sensor stops.

    Args:
        size: width and height to ask for; None = what the sensor delivers by itself.
        rate: frames a second to ask for, together with the size.
        most: how many frames.
        package: pyrealsense2, or what has its interface.

    Raises:
        UserError: the package is absent, no sensor answers, or it delivers no frame of this kind.
    """
    package = _package() if package is None else package
    pipeline, config = package.pipeline(), package.config()
    if size is None:
        config.enable_stream(package.stream.depth)
    else:
        config.enable_stream(package.stream.depth, *size, package.format.z16, rate)
    try:
        profile = pipeline.start(config)
    except RuntimeError as error:
        raise UserError(f"No RealSense sensor answers ({error}): plug one in, or give files as the source.") from error
    try:
        camera, unit_mm = _camera(profile, package)
        count = 0
        while most is None or count < most:
            depth = pipeline.wait_for_frames().get_depth_frame()
            if not depth:
                continue
            # the sensor's memory is used again for a later frame
            stored = np.array(np.asanyarray(depth.get_data()), np.uint16)
            yield DepthFrame(depth_from(stored, unit_mm), Camera.of(*camera), f"{SOURCE}/{count:06}")
            count += 1
    except RuntimeError as error:
        raise UserError(f"The RealSense sensor delivers no frame ({error}): plug it in again.") from error
    finally:
        pipeline.stop()


def _camera(profile: Any, package: Any) -> tuple[Intrinsics, float]:
    """Intrinsics in this project's pixels, and millimetres a stored unit."""
    lens = profile.get_stream(package.stream.depth).as_video_stream_profile().get_intrinsics()
    unit_mm = round(1000 * profile.get_device().first_depth_sensor().get_depth_scale(), 6)
    return (lens.fx, lens.fy, lens.ppx + PIXEL_CENTRE, lens.ppy + PIXEL_CENTRE), unit_mm


def _package() -> ModuleType:
    return optional("pyrealsense2", "The source realsense needs the package pyrealsense2", "pip install pyrealsense2")
