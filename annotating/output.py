"""What every data set gets beside its own files: a row a frame with status and confidence, meshes, links to images."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from annotating.annotations import CHUNK, MEASURES, Annotations
from annotating.place import Place
from annotating.source import NOT_ASKED, Source
from dataloader.sources import StoredFrames
from predicting.output.meshes import MeshFormat, write_mesh
from predicting.output.write import file_names
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.files import write_text, write_whole
from util.joints import MANO_NAMES
from util.processes import rank, world

HEAD = ("frame", "sequence", "subject", "status", "why", "confidence", *MEASURES)


def write_frames(source: Source, found: Annotations, place: Place) -> None:
    """NAME-frames.csv, a line a frame, and NAME-frames.npz: the same with the 21 keypoints and the parameters.

    Joints and centres are in the camera of the images as stored; parameters are those of right hands.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for row in range(len(source)):
        measures = ("" if np.isnan(value) else f"{value:.4f}" for value in found.measures[row].tolist())
        named = source.files[row], source.sequences[row], source.subjects[row]
        what = found.status[row], found.why[row], f"{found.confidence[row]:.4f}"
        writer.writerow((*named, *what, *measures))
    write_text(place.path(f"{source.name}-frames.csv"), text.getvalue())
    content = io.BytesIO()
    columns = found.columns() | {
        "frame": np.array(source.files, np.str_),
        "joints_mm": source.as_stored(found.joints_mm).astype(np.float32),
        "centre_mm": source.as_stored(found.centre_mm).astype(np.float32),
        "joint_names": np.array(MANO_NAMES),
        "measure_names": np.array(MEASURES),
    }
    np.savez_compressed(content, allow_pickle=False, **columns)
    write_whole(place.path(f"{source.name}-frames.npz"), content.getvalue())


def write_meshes(
    source: Source, found: Annotations, place: Place, kinds: Sequence[MeshFormat], hand: Path | None
) -> None:
    """meshes/FRAME.ply and the like, in the camera of the images as stored; each process writes its share."""
    model = load_hand_model(hand)
    # the same frames are decoded together whoever does it: numbers come out the same to the last bit
    parts = range(rank() * CHUNK, len(source), world() * CHUNK)
    rows = [row for at in parts for row in range(at, min(at + CHUNK, len(source)))]
    names = [str(PurePosixPath(file).with_suffix("")) for file in source.files]
    if isinstance(source.frames, StoredFrames):  # one's own files may differ in their endings alone
        names = file_names(source.files)
    for row, vertices_mm in found.surfaces(HandLayer(model), rows):
        left = (found.side[row] == "left") != bool(source.mirrored_width)
        stored = source.as_stored(vertices_mm).astype(np.float32)
        for kind in dict.fromkeys(kinds):
            write_mesh(place.path(f"meshes/{names[row]}.{kind}"), stored, model.faces, "left" if left else "right")


def link_images(source: Source, place: Place) -> None:
    """Links to the images, at their own places."""
    for file in source.files:
        place.link(file)


def animation_name(source: Source, sequence: str) -> str:
    """File of a recording's animation."""
    return f"animations/{re.sub(r'[^A-Za-z0-9.]+', '_', f'{source.name}_{sequence}')}.gif"


def counts(found: Annotations) -> dict[str, int]:
    """Frames of each status; those without a hand by the reason."""
    whys = (str(why) or str(status) for status, why in zip(found.status, found.why, strict=True))
    return dict(Counter(whys).most_common())


def summary(source: Source, found: Annotations) -> dict:
    """Numbers of frames by status, and the names of those without a hand, by the reason."""
    without: dict[str, list[str]] = {}
    for file, seen, why in zip(source.files, found.seen, found.why, strict=True):
        if not seen and why != NOT_ASKED:
            without.setdefault(str(why), []).append(file)
    return {"frames": len(source), "with_hand": int(found.seen.sum()), "counts": counts(found), "without_hand": without}
