"""Common depth sensors by name: size of their images, unit of their numbers, and roughly what their lenses are.

Nominal values, to start with: makers' data sheets where they give the lens (D415: 1.88 mm over 1.4 um pixels; D435 and
D455: 1.93 mm over 3 um), the constant of Microsoft's SDK for the first Kinect, and typical factory calibrations for the
others. A sensor of one's own differs by 1 to 3 % in focal length and by some pixels in the principal point, so
positions do too: ask the sensor for its own numbers and give them with --camera where millimetres matter. Lens
distortion is left out. Principal points are in pixels whose centres lie at + 0.5.
"""

from dataclasses import dataclass

from dataloader.locate import Intrinsics
from util.errors import UserError

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True)
class NamedCamera:
    """A kind of depth sensor."""

    about: str
    """What it is."""
    unit_m: float
    """Metres a stored unit, as the sensor delivers it."""
    modes: dict[Size, Intrinsics]
    """fx, fy, cx, cy by size of the image."""


def _centred(focal: float, size: Size) -> Intrinsics:
    return focal, focal, size[0] / 2, size[1] / 2


def _stereo(focal_of: dict[Size, float]) -> dict[Size, Intrinsics]:
    return {size: _centred(focal, size) for size, focal in focal_of.items()}


_WIDE = _stereo({(1280, 720): 640.0, (848, 480): 424.0, (640, 480): 384.0, (640, 360): 320.0, (424, 240): 212.0})
_TIME_OF_FLIGHT: dict[Size, Intrinsics] = {
    (640, 576): (504.0, 504.0, 320.5, 330.5),
    (320, 288): (252.0, 252.0, 160.25, 165.25),
}

NAMED: dict[str, NamedCamera] = {
    "kinect1": NamedCamera(
        "Kinect for Xbox 360 and other PrimeSense sensors",
        0.001,
        _stereo({(640, 480): 571.26, (320, 240): 285.63}),
    ),
    "kinect2": NamedCamera("Kinect for Xbox One", 0.001, {(512, 424): (365.0, 365.0, 256.0, 207.0)}),
    "sr300": NamedCamera("RealSense SR300", 0.000125, {(640, 480): (475.1, 475.1, 315.9, 245.3)}),
    "sr305": NamedCamera("RealSense SR305", 0.000125, {(640, 480): (476.0, 476.0, 313.7, 242.8)}),
    "d415": NamedCamera(
        "RealSense D415",
        0.001,
        _stereo({(1280, 720): 895.0, (848, 480): 593.0, (640, 480): 597.0, (640, 360): 447.5}),
    ),
    "d435": NamedCamera("RealSense D435", 0.001, _WIDE),
    "d455": NamedCamera("RealSense D455", 0.001, _WIDE),
    "azure-nfov": NamedCamera("Azure Kinect, narrow field of view", 0.001, _TIME_OF_FLIGHT),
    "femto-nfov": NamedCamera("Femto Bolt and Mega, narrow field of view", 0.001, _TIME_OF_FLIGHT),
}
"""The sensors that `--sensor` knows."""


def named_camera(name: str) -> NamedCamera:
    """A sensor by its name.

    Raises:
        UserError: there is none of this name.
    """
    if name not in NAMED:
        raise UserError(f"There is no sensor {name!r}: choose {', '.join(NAMED)}, or give --camera FX FY CX CY.")
    return NAMED[name]


def nominal_intrinsics(name: str, size: Size) -> Intrinsics:
    """Nominal fx, fy, cx, cy of a sensor's images of this width and height, pixels.

    Raises:
        UserError: there is no such sensor, or it delivers no images of this size.
    """
    modes = named_camera(name).modes
    if size not in modes:
        known = ", ".join(f"{width}x{height}" for width, height in modes)
        raise UserError(
            f"--sensor {name} is known for images of {known}, not {size[0]}x{size[1]}: give --camera FX FY CX CY."
        )
    return modes[size]
