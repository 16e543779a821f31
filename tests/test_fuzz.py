"""Some hundred damaged files for every reader, and properties of what readers share; bench/fuzz.py does many more."""

import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import savemat

from bench.fuzz_cases import Bench, Case, keep_case, replay
from bench.fuzz_readers import Wrong, readers
from config import Experiment
from dataloader.mat_file import read_mat_array
from util.arrays import read_npy, read_npz
from util.errors import UserError
from util.settings import from_plain

CASES = 6
"""Of each reader."""
OFTEN = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SLOW = ("nyu.", "hands17.", "shrec.", "dhg.", "weights.")
"""Readers of whole frames and networks: fewer cases here."""
ANY_NUMBERS = arrays.arrays(
    arrays.unsigned_integer_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes() | arrays.boolean_dtypes(),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Every reader with its good file read once."""
    return Bench(readers(), tmp_path_factory.mktemp("fuzz"))


def test_damaged_files_are_read_right_or_refused_by_name(bench: Bench) -> None:
    accepted = refused = 0
    for name in bench.readers:
        for number in range(CASES // 3 if name.startswith(SLOW) else CASES):
            case = Case(name, 7, number)
            damage, content = case.damage(bench.readers)
            outcome = bench.run(name, content)
            assert not outcome.fault, f"{case}, {damage}: {outcome.fault}"
            accepted, refused = accepted + outcome.accepted, refused + (not outcome.accepted)
    assert accepted > 20 and refused > 100


def test_a_reader_that_fails_is_noticed_and_its_file_kept(bench: Bench, tmp_path: Path) -> None:
    good = bench.readers["marks"]

    def stumbles(folder: Path) -> None:
        raise IndexError("somewhere")

    def misreads(folder: Path) -> None:
        raise Wrong("a joint")

    def chatters(folder: Path) -> None:
        for _ in range(50):
            warnings.warn("a number is odd", stacklevel=1)

    def says_nothing(folder: Path) -> None:
        raise UserError("It went wrong.")

    def takes_memory(folder: Path) -> None:
        try:
            np.zeros(1 << 50)
        except MemoryError as error:
            raise UserError(f"{folder} is damaged: mend it.") from error

    faults = {
        stumbles: "IndexError",
        misreads: "wrong meaning: a joint",
        chatters: "50 warnings",
        says_nothing: "does not name the file",
        takes_memory: "takes more than",
    }
    for read, fault in faults.items():
        wrong = Bench({}, tmp_path)
        wrong.readers = {"marks": replace(good, read=read)}
        good.write(tmp_path / "marks")
        assert fault in wrong.run("marks", b"x").fault
    case = Case("marks", 3, 1)
    damage, content = case.damage(bench.readers)
    assert case.damage(bench.readers)[1] == content
    keep_case(tmp_path, case, damage, "none", good, content)
    assert replay(tmp_path / "marks-3-1", bench.readers) == bench.run("marks", content)


@OFTEN
@given(stored=ANY_NUMBERS, order=st.sampled_from("<>"), column_first=st.booleans())
def test_arrays_are_read_as_numpy_reads_them(
    tmp_path: Path, stored: np.ndarray, order: str, column_first: bool
) -> None:
    stored = stored.astype(stored.dtype.newbyteorder("<" if order == "<" else ">"), order="F" if column_first else "C")
    np.save(tmp_path / "a.npy", stored)
    np.savez_compressed(tmp_path / "a.npz", a=stored)
    for found in (
        read_npy(tmp_path / "a.npy", "mend it"),
        read_npy(tmp_path / "a.npy", "mend it", mapped=True),
        read_npz(tmp_path / "a.npz", "mend it")["a"],
    ):
        assert found.shape == stored.shape and np.array_equal(found, stored, equal_nan=stored.dtype.kind == "f")


@OFTEN
@given(stored=ANY_NUMBERS, packed=st.booleans())
def test_matlab_files_are_read_as_scipy_writes_them(tmp_path: Path, stored: np.ndarray, packed: bool) -> None:
    plain = stored.dtype.kind == "b" or stored.dtype == np.float16  # which MATLAB has no type for
    stored = np.atleast_2d(stored.astype(np.uint8) if plain else stored)
    content = BytesIO()
    savemat(content, {"other": np.ones(3), "joint_xyz": stored}, do_compression=packed)
    (tmp_path / "a.mat").write_bytes(content.getvalue())
    found = read_mat_array(tmp_path / "a.mat", "joint_xyz", "mend it")
    assert found is not None and found.shape == stored.shape
    assert np.array_equal(found, stored, equal_nan=stored.dtype.kind == "f")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@OFTEN
@given(key=st.sampled_from(["name", "optim", "data", "sampler", "start", "seed", "network", "x"]), value=PLAIN)
def test_settings_are_built_or_refused(key: str, value: object) -> None:
    try:
        built = from_plain(Experiment, {key: value}, "config.json")
    except UserError as error:
        assert str(error).startswith("config.json ")
    else:
        assert isinstance(built, Experiment)
