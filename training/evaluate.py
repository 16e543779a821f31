"""Phase test: a network on the test frames of a data set, and the table of what came out."""

import math
from pathlib import Path

import torch

from config import Experiment
from dataloader.store import FrameStore
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from training.kept_scores import in_shards, kept_scores
from training.measures import Share, score_frames
from training.setup import make_fabric, make_network
from training.show import outputs_picture
from training.sources import load_frames
from util.draw import write_png
from util.errors import UserError
from util.files import write_text
from util.predictions import write_predictions
from util.processes import first_only, is_first, shared
from util.run_folder import RunFolder

TABLE = ("mean_mm", "surface_mm", "coverage", "depth_mm", "iou", "surface_mm_predbox", "iou_predbox", "tips_outside_mm")


def test(experiment: Experiment, folder: RunFolder, load_model: Path | None) -> dict:
    """Score weights on the test split and write results.json, whose content comes back; until then scores are kept."""
    if load_model is None:
        raise UserError("The phase test needs weights: add --load-model FILE.")
    fabric = make_fabric(experiment)
    network, layer = make_network(experiment, fabric, load_model)
    store = load_frames(experiment, "test")
    shards = kept_scores(experiment, folder, network, store, load_model)
    results = {"after": score_and_show(network, store, layer, folder, "after", experiment.pictured, in_shards(shards))}
    folder.write_results(results)
    if is_first():
        shards.remove()
    return results


def score_and_show(
    network: DualBranchNetwork,
    store: FrameStore,
    layer: HandLayer,
    folder: RunFolder,
    name: str,
    pictured: int,
    share: Share = shared,
) -> dict[str, dict]:
    """Measures of a network on a store; pictures of some frames and all predicted joints go into the run folder.

    Joints are those of the data set, in its own orientation, one line a frame of `frames.txt`: what evaluate.py reads.
    share: who scores the frames.
    """
    predictions: dict[str, torch.Tensor] = {}
    scores = score_frames(network, store, layer, predictions=predictions, share=share)
    first_only(lambda: _show(network, store, folder, name, pictured, predictions))
    return scores


def _show(
    network: DualBranchNetwork,
    store: FrameStore,
    folder: RunFolder,
    name: str,
    pictured: int,
    predictions: dict[str, torch.Tensor],
) -> None:
    """Pictures and predictions."""
    if pictured > 0:
        chosen = torch.linspace(0, len(store) - 1, min(pictured, len(store))).long()
        write_png(folder.pictures / f"{name}.png", outputs_picture(network, store.batch(chosen), pictured))
    fx, fy, cx, cy = (float(number) for number in store.cameras[0])
    for branch, joints_mm in predictions.items():
        for kind in ("uvd", "xyz"):
            path = folder.path / "predictions" / f"{name}_{branch}_{kind}.txt"
            write_predictions(path, joints_mm.numpy(), (fx, fy, cx, cy), store.mirrored_width or None)
    write_text(folder.path / "predictions" / "frames.txt", "\n".join(store.names) + "\n")


def table(results: dict[str, dict[str, dict]]) -> str:
    """Before and after as one table of means, a row a branch."""
    names = [n for n in TABLE if any(n in scores for rows in results.values() for scores in rows.values())]
    head = f"{'':8}{'':14}" + "".join(f"{name:>20}" for name in [*names, "share_ok", "n_frames"])
    lines = [head]
    for when, rows in results.items():
        for branch, scores in rows.items():
            means = [scores.get(name, {}).get("mean") for name in names]
            cells = [_cell(value) for value in (*means, scores.get("share_ok"))]
            lines.append(f"{when:8}{branch:14}" + "".join(cells) + f"{scores['n_frames']:20d}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    """A mean; a dash where the branch has no such measure (or no frame that has it)."""
    return f"{'-':>20}" if value is None or math.isnan(value) else f"{value:20.3f}"
