"""The table of reference checks: all hold on ../shared/reference, altered numbers fail, what is missing is named."""

import math
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench.reference import GROUPS, folder_of
from bench.reference_folder import Check
from tests.shared import REFERENCE, needs_reference
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@cache
def measured(group: str) -> dict[str, Check]:
    """A group's checks by name; run once for all its cases."""
    return {check.name: check for check in GROUPS[group].checks(REFERENCE)}


@needs_reference
@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, checks in GROUPS.items() for name in checks.tolerances]
)
def test_agrees_with_the_reference(group: str, name: str) -> None:
    check = measured(group)[name]
    assert check.holds, f"{check.error} > {check.tolerance}"


@needs_reference
def test_every_file_of_the_folder_is_read() -> None:
    files = {path.name for path in REFERENCE.iterdir() if path.suffix in (".npz", ".json", ".pkl")}
    modules = [ROOT / f"bench/reference_{part}.py" for part in ("geometry", "networks", "datasets")]
    read = "".join(module.read_text(encoding="utf-8") for module in modules)
    assert all(f'"{name}"' in read for name in files)


def copied(folder: Path) -> Path:
    """A copy of the reference that can be written to."""
    return Path(shutil.copytree(REFERENCE, folder / "reference", copy_function=shutil.copyfile))


def alter(path: Path, name: str, by: float) -> None:
    """Move one number of one array."""
    arrays = dict(np.load(path))
    changed = arrays[name].copy()
    changed[(0,) * changed.ndim] = not changed[(0,) * changed.ndim] if changed.dtype == bool else changed.flat[0] + by
    np.savez(path, **arrays | {name: changed})


@needs_reference
@pytest.mark.parametrize(
    ("group", "file", "array", "by"),
    [
        ("hand_layer", "hand_layer.npz", "verts_m", 2e-5),
        ("render", "render.npz", "joint_uvd", 2e-4),
        ("coordinates", "coordinates.npz", "points_0", 2e-5),
        ("coordinates", "coordinates.npz", "cropped", -1e-3),
        ("offset_maps", "offset_maps.npz", "decoded", 2e-5),
        ("losses", "losses.npz", "n_part_faces", 1),
        ("losses", "losses.npz", "part_surface", 2e-5),
        ("collision", "collision.npz", "pair_mask", 0),
        ("collision", "collision.npz", "penetration_each", math.nan),
        ("smooth_l1", "smooth_l1.npz", "loss", 2e-7),
        ("nyu", "datasets/nyu/expected_test_view0.npz", "center_mm", 0.1),
        ("icvl", "datasets/icvl/expected_test.npz", "crop_from_image", 2e-4),
        ("msra", "datasets/msra/expected_test_p0.npz", "joint_xyz", 2e-4),
    ],
)
def test_an_altered_number_fails_its_own_check_alone(
    tmp_path: Path, group: str, file: str, array: str, by: float
) -> None:
    folder = copied(tmp_path)
    alter(folder / file, array, by)
    failed = {check.name for check in GROUPS[group].checks(folder) if not check.holds}
    assert failed == {f"{group}/{array}"}


def command(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command as a user gives it."""
    words = [sys.executable, "bench/reference.py", str(folder)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_reference
def test_the_command_prints_a_line_each_and_exits_with_1_when_one_fails(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    alter(folder / "collision.npz", "penetration_each", 1e-3)
    done = command(folder)
    *lines, last = done.stdout.splitlines()
    total = sum(len(group.tolerances) for group in GROUPS.values())
    assert done.returncode == 1, done.stderr
    assert len(lines) == total and last == f"{total - 1}/{total} checks hold"
    (failed,) = (line.split() for line in lines if line.endswith("FAILS"))
    assert failed[0] == "collision/penetration_each" and abs(float(failed[1]) - 1e-3) < 1e-5 and failed[2] == "1e-05"


@needs_reference
def test_a_missing_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "hand_layer.npz").unlink()
    done = command(folder)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == (
        f"{folder / 'hand_layer.npz'} does not exist: give the folder with all the reference files."
    )


@needs_reference
@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("hand_layer", "MANO_RIGHT.pkl"),
        ("losses", "losses.npz"),
        ("network", "network_state_dict_keys.json"),
        ("transfer", "transfer_state_dict_keys.json"),
        ("nyu", "datasets/nyu/test/joint_data.mat"),
        ("icvl", "datasets/icvl/expected_test.npz"),
        ("msra", "datasets/msra/P0/1/000000_depth.bin"),
    ],
)
def test_missing_and_torn_files_are_named(tmp_path: Path, group: str, file: str) -> None:
    path = copied(tmp_path) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=path.name):
        GROUPS[group].checks(tmp_path / "reference")
    path.unlink()
    with pytest.raises(UserError, match=path.name):
        GROUPS[group].checks(tmp_path / "reference")


@needs_reference
def test_a_missing_array_is_named(tmp_path: Path) -> None:
    path = copied(tmp_path) / "smooth_l1.npz"
    np.savez(path, x=np.zeros(3), y=np.zeros(3))
    with pytest.raises(UserError, match=r"smooth_l1\.npz has no array 'loss'"):
        GROUPS["smooth_l1"].checks(tmp_path / "reference")


def test_the_folder_must_be_named_and_exist(tmp_path: Path) -> None:
    assert folder_of([str(tmp_path)]) == tmp_path
    for words in ([], [str(tmp_path), str(tmp_path)], ["--json"]):
        with pytest.raises(UserError, match="One folder"):
            folder_of(words)
    with pytest.raises(UserError, match="is no folder"):
        folder_of([str(tmp_path / "absent")])


def test_what_cannot_be_compared_does_not_hold() -> None:
    assert Check("a", 1e-5, 1e-5).holds and not Check("a", math.nan, 1).holds and not Check("a", math.inf, 1).holds
