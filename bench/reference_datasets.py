"""Tiny data sets in their own layouts against what the reference read from them: crops, labels and geometry."""

from functools import partial
from pathlib import Path

from bench.reference_folder import Arrays, Group, worst, worst_relative
from config import DataConfig, DataSetName
from dataloader.datasets.catalogue import list_split
from dataloader.prepare import prepare

DIFFERS = 1e-4
"""Depth difference (half cubes) from which a sample of a crop counts as different."""
EXPECTED = {"nyu": "expected_test_view0.npz", "icvl": "expected_test.npz", "msra": "expected_test_p0.npz"}
"""What the reference read from each: NYU's view 0, ICVL, MSRA's subject 0."""


def measure_data_set(folder: Path, name: DataSetName) -> dict[str, float]:
    """The test split, read as for training and testing.

    image is the worst crop's share of samples that differ. Joints are in the data set's own order; crop_from_image,
    centre and cube are compared relative to their size where it is above 1 (pixels, mm).
    """
    root = folder / "datasets" / name
    known = Arrays(root / EXPECTED[name])
    config = DataConfig(name=name, root=root, test_subjects=(0,) if name == "msra" else None, keep=False, workers=1)
    listing = list_split(config, "test")
    store = prepare(listing, config)
    missing = abs(len(store) - len(known["image"]))
    sample = store.batch(range(len(store)))
    crop, joints_mm = sample.crop, sample.joints_mm
    if missing or joints_mm is None:
        return dict.fromkeys(tolerances(name), float("inf"))
    errors = {
        "frames": float(missing),
        "image": float(((crop.depth - known["image"]).abs() > DIFFERS).float().mean((1, 2, 3)).max()),
        "joint_xyz": worst(crop.xyz_from_mm(joints_mm), known["joint_xyz"]),
        "joint_uvd": worst(crop.uvd_from_mm(joints_mm), known["joint_uvd"]),
        "center_mm": worst_relative(crop.centre_mm, known["center_mm"]),
        "crop_from_image": worst_relative(crop.crop_from_image, known["crop_from_image"]),
        "cube_mm": worst_relative(crop.cube_mm, known["cube_mm"]),
    }
    if name in WITH_PARAMETERS:
        params = listing.read_parameters()
        errors["parameters"] = float("inf") if params is None else float(len(params.pose) != len(store))
    return {f"{name}/{what}": error for what, error in errors.items()}


TOLERANCES = {
    "frames": 0,
    "image": 0.005,
    "joint_xyz": 1e-4,
    "joint_uvd": 1e-4,
    "center_mm": 1e-4,
    "crop_from_image": 1e-4,
    "cube_mm": 1e-4,
}
"""What each data set must agree to."""
NAMES: tuple[DataSetName, ...] = ("nyu", "icvl", "msra")
WITH_PARAMETERS: tuple[DataSetName, ...] = ("nyu", "msra")
"""Those that come with hand parameters of their frames, one line each."""


def tolerances(name: DataSetName) -> dict[str, float]:
    """Tolerances by the name of the check."""
    wanted = TOLERANCES | ({"parameters": 0} if name in WITH_PARAMETERS else {})
    return {f"{name}/{what}": tolerance for what, tolerance in wanted.items()}


GROUPS = {name: Group(partial(measure_data_set, name=name), tolerances(name)) for name in NAMES}
"""By data set."""
