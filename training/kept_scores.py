"""What the phase test has found so far, batch by batch in the run's folder, so that a killed run goes on with --resume.

A batch is a shard (util/shards.py): which frames are scored together depends on their numbers alone.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from config import Experiment
from dataloader.packing import PER_FRAME
from dataloader.store import FrameStore
from model.network import DualBranchNetwork
from training.measures import BATCH, Found, Share
from util.run_folder import RunFolder
from util.settings import to_plain
from util.shards import Columns, Shards, checksums

FOLDER = ".scores.shards"
"""In the run's folder, until its results are written."""
AGAIN = "go on with --resume and the same --run-dir"
JOINTS = "joints_mm"


def kept_scores(
    experiment: Experiment, folder: RunFolder, network: DualBranchNetwork, store: FrameStore, weights: Path
) -> Shards:
    """The shards of a run: of its frames, its weights, and how they are read."""
    names = [f"{row:08d} {name}" for row, name in enumerate(store.names.tolist())]
    about = checksums({"weights": weights, "hand": experiment.hand}) | {
        "frames": _content(store),
        "network": repr(to_plain(experiment.network)),
        "how": repr((next(network.parameters()).device.type, experiment.optim.compile, experiment.optim.cuda_graphs)),
    }
    return Shards(folder.path / FOLDER, names, BATCH, about, again=AGAIN, sound=are_scores)


def in_shards(shards: Shards) -> Share:
    """Batches scored by whoever they fall to, those that are not there yet; what was found of all frames, as one."""

    def share(n: int, score: Callable[[int], Found]) -> list[Found]:
        def work(rows: list[int]) -> Columns:
            found = score(rows[0] // BATCH)
            return {f"{branch} {name}": value.numpy() for branch, own in found.items() for name, value in own.items()}

        shards.run(work)
        return [found_of(shards.merged())]

    return share


def found_of(columns: Columns) -> Found:
    """What such columns say, by branch."""
    found: Found = {}
    for column, values in columns.items():
        branch, name = column.split(" ")
        found.setdefault(branch, {})[name] = torch.from_numpy(values)
    return found


def are_scores(columns: Columns) -> bool:
    """Whether these may be what `work` gives."""
    if not columns or any(name.count(" ") != 1 or column.dtype.kind != "f" for name, column in columns.items()):
        return False
    joints = [columns.get(f"{branch} {JOINTS}") for branch in {name.split(" ")[0] for name in columns}]
    return all(column is not None and column.ndim == 3 and column.shape[2] == 3 for column in joints)


def _content(store: FrameStore) -> str:
    """A checksum of frames; of pixels in a file, which is named after what it was made of, its place, size and time."""
    state = hashlib.sha256()
    for name in PER_FRAME:
        value = getattr(store, name)
        state.update(f"{name} ".encode() + (b"none" if value is None else np.ascontiguousarray(value).tobytes()))
    for pixels in (store.pixels, store.observed_bits):
        if isinstance(pixels, np.memmap) and pixels.filename is not None:
            found = Path(pixels.filename).stat()
            state.update(f"{pixels.filename} {found.st_size} {found.st_mtime_ns}".encode())
        elif pixels is not None:
            state.update(pixels.tobytes())
    return state.hexdigest()
