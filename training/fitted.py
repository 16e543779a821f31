"""Hands fitted to frames that nobody labelled become their labels: self-training, with an optimiser as the teacher.

A network's answer is a good start, and an optimiser that may take its time over one frame gets closer to the depth than
the network does (Kolotouros et al., Learning to reconstruct 3D human pose and shape via model-fitting in the loop, ICCV
2019). Hands that explain their frame teach both branches, under the frame's augmentation and beside rendered hands; the
others are left out.
"""

import io
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from config import Experiment, FittedConfig
from dataloader.augment import Augmentation
from dataloader.rendered import RenderedHands
from dataloader.store import FrameStore
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from training.branches import render_model
from training.hand_fit import HandFit
from training.labelled import labelled_terms
from training.loop import Loop
from training.measures import hand_measures
from training.prefetch import rendered_steps
from training.selfsupervise import SelfSupervision, unlabelled_judge
from training.show import show_outputs
from training.sources import held_out_split
from training.teacher import with_discs_cut_out
from training.translation import Translation
from util.arrays import read_npz
from util.errors import UserError
from util.files import write_whole
from util.joints import MANO21

BATCH = 32
"""Frames that are fitted at once."""
FITS = "fits.npz"
"""Where a run folder keeps fitted hands, so that a run that goes on learns from the same ones."""


def learn_fitted(
    experiment: Experiment, loop: Loop, layer: HandLayer, rendered: RenderedHands, frames: FrameStore
) -> None:
    """Fit hands to frames with the network as it starts, then learn from these hands in a loop.

    Raises UserError when a hand explains none of the frames.
    """
    config, optim, device = experiment.fitted, experiment.optim, loop.fabric.device
    train, checked = held_out_split(frames, optim.check_frames)
    some = train.subset(np.linspace(0, len(train) - 1, min(config.frames, len(train))).astype(np.int64))
    fits = _kept(loop, some) or fit_frames(loop.network, some, layer, config)
    _keep(loop, fits)
    fitted = replace(some.subset(fits.pop("chosen")), **fits, joint_set=MANO21.name)
    loop.network.train()
    translation, augment = Translation.of(experiment, loop.fabric), Augmentation(experiment.augment)
    terms_of = SelfSupervision(experiment, layer, rendered)
    batches = rendered_steps(experiment, rendered, loop.step, optim.steps, optim.batch, pinned=device.type != "cpu")

    def losses(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        sample = translation(next(batches))
        chosen = torch.randint(len(fitted), (optim.real_batch,), generator=generator)
        real = fitted.batch(chosen, generator, augment).to(device)
        loop.learns_from(rendered=sample, real=real)
        seen = real.crop.with_depth(with_discs_cut_out(real.crop.depth, experiment.augment, generator))
        outputs = loop.wrapped(sample.crop.joined(seen))
        of_rendered, of_real = zip(*(output.split(optim.batch) for output in outputs), strict=True)
        terms = labelled_terms(of_real, real, experiment.supervised)
        weighted = {f"fitted/{name}": config.weight * value for name, value in terms.items()}
        return terms_of.rendered_terms(sample, of_rendered) | weighted

    def picture(step: int) -> None:
        with loop.averaged_weights() as network:
            show_outputs(loop.writer, network, checked.batch(range(min(8, len(checked)))), step)

    loop.run(losses, optim.batch + optim.real_batch, unlabelled_judge(loop, layer, checked), picture)


def fit_frames(
    network: DualBranchNetwork, frames: FrameStore, layer: HandLayer, config: FittedConfig
) -> dict[str, np.ndarray]:
    """Hands that explain frames.

    Returns: chosen (k,), which frames; their joints_mm (k, 21, 3) and vertices_mm (k, 779, 3).
    Raises UserError when a hand explains none.
    """
    device = next(network.parameters()).device
    fit = HandFit(layer, config.steps)
    found: dict[str, list[Tensor]] = {"good": [], "joints_mm": [], "vertices_mm": []}
    network.eval()
    for at in tqdm(range(0, len(frames), BATCH), unit="batch", desc="fitting", mininterval=2):
        sample = frames.batch(range(at, min(at + BATCH, len(frames)))).to(device)
        crop = sample.crop
        with torch.no_grad():
            start = network(crop)[-1]
        observed = crop.foreground if sample.observed is None else sample.observed & crop.foreground
        hand = fit(crop, observed, start.hand.params(), start.pixel_xyz)
        with torch.no_grad():
            measures = hand_measures(crop, hand, layer, render_model(crop, hand, layer.faces), observed)
        found["good"].append((measures["surface_mm"] < config.surface_mm) & (measures["iou"] > config.iou))
        found["joints_mm"].append(crop.mm_from_xyz(hand.joints_xyz))
        found["vertices_mm"].append(crop.mm_from_xyz(hand.vertices_xyz))
    columns = {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}
    chosen = columns.pop("good").nonzero()[0]
    if not len(chosen):
        raise UserError("No frame is explained by the hand fitted to it: choose a better start (--load-model).")
    return {name: column[chosen] for name, column in columns.items()} | {"chosen": chosen}


def _keep(loop: Loop, fits: dict[str, np.ndarray]) -> None:
    """Write fitted hands to the run folder, where they are not there yet."""
    path = loop.folder.path / FITS
    if loop.step == 0 or not path.is_file():
        written = io.BytesIO()
        np.savez(written, **fits)  # type: ignore[arg-type]
        write_whole(path, written.getvalue())


def _kept(loop: Loop, frames: FrameStore) -> dict[str, np.ndarray] | None:
    """Fitted hands of a run that goes on. Raises UserError when they belong to other frames."""
    path = loop.folder.path / FITS
    if loop.step == 0 or not path.is_file():
        return None
    names = ("chosen", "joints_mm", "vertices_mm")
    fits = read_npz(path, "remove the run folder to begin anew", names, most=1 << 33)
    chosen = fits.get("chosen", np.zeros(0))
    shapes = [fits[name].shape[::2] for name in names[1:] if name in fits]
    whole = chosen.dtype.kind == "i" and len(chosen) > 0 and shapes == [(len(chosen), 3)] * 2
    if not whole or not 0 <= chosen.min() <= chosen.max() < len(frames):
        raise UserError(f"{path} holds hands of other frames: remove the run folder to begin anew.")
    return fits
