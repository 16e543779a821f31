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
from training.labelled import label_counts, labelled_terms
from training.loop import Loop
from training.measures import hand_measures
from training.parts import Counts, Part, Ready, within
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
from util.processes import first_only, is_first, shared, world

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
    if (fits := _kept(loop, some)) is None:
        fits = fit_frames(loop.network, some, layer, config)
        _keep(loop, fits)
    fitted = replace(some.subset(fits.pop("chosen")), **fits, joint_set=MANO21.name)
    loop.network.train()
    translation, augment = Translation.of(experiment, loop.fabric), Augmentation(experiment.augment)
    terms_of = SelfSupervision(experiment, layer, rendered)
    parts, pinned, network = loop.learning.parts, device.type != "cpu", loop.network
    batches = rendered_steps(experiment, rendered, loop.step, optim.steps, optim.batch, pinned, parts)

    def losses(step: int, part: Part) -> Ready:
        sample, generator = translation(next(batches)), part.draws(experiment.seed, step, optim.real_batch)
        chosen = generator.randint(0, len(fitted), part.size(optim.real_batch))
        real = fitted.batch(chosen, generator, augment).to(device)
        seen = real.crop.with_depth(with_discs_cut_out(real.crop.depth, experiment.augment, generator))

        def terms(counts: Counts) -> dict[str, Tensor]:
            outputs = loop.wrapped(sample.crop.joined(seen))
            of_rendered, of_real = zip(*(output.split(len(sample)) for output in outputs), strict=True)
            of_fits = labelled_terms(of_real, real, experiment.supervised, within(counts, "fitted/"))
            weighted = {f"fitted/{name}": config.weight * value for name, value in of_fits.items()}
            return terms_of.rendered_terms(sample, of_rendered, within(counts, "rendered/")) | weighted

        def counts() -> dict[str, Tensor]:
            of_fits = label_counts(real, network.cells_seen(seen.depth))
            cells = network.cells_seen(sample.crop.depth).sum()
            return {"rendered/cells": cells} | {f"fitted/{name}": count for name, count in of_fits.items()}

        return Ready(terms, {"rendered": sample, "real": real}, counts)

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
    network.eval()
    n = -(-len(frames) // BATCH)
    bar = tqdm(total=n, unit="batch", desc="fitting", mininterval=2, disable=not is_first())

    def fitted(i: int) -> dict[str, Tensor]:
        at = BATCH * i
        sample = frames.batch(range(at, min(at + BATCH, len(frames)))).to(device)
        crop = sample.crop
        with torch.no_grad():
            start = network(crop)[-1]
        observed = crop.foreground if sample.observed is None else sample.observed & crop.foreground
        hand = fit(crop, observed, start.hand.params(), start.pixel_xyz)
        with torch.no_grad():
            measures = hand_measures(crop, hand, layer, render_model(crop, hand, layer.faces), observed)
        bar.update(world())
        return {
            "good": ((measures["surface_mm"] < config.surface_mm) & (measures["iou"] > config.iou)).cpu(),
            "joints_mm": crop.mm_from_xyz(hand.joints_xyz).cpu(),
            "vertices_mm": crop.mm_from_xyz(hand.vertices_xyz).cpu(),
        }

    found = shared(n, fitted)
    columns = {name: torch.cat([batch[name] for batch in found]).numpy() for name in found[0]}
    chosen = columns.pop("good").nonzero()[0]
    if not len(chosen):
        raise UserError("No frame is explained by the hand fitted to it: choose a better start (--load-model).")
    return {name: column[chosen] for name, column in columns.items()} | {"chosen": chosen}


def _keep(loop: Loop, fits: dict[str, np.ndarray]) -> None:
    """Write fitted hands to the run folder."""
    path = loop.folder.path / FITS
    written = io.BytesIO()
    np.savez(written, **fits)  # type: ignore[arg-type]
    first_only(lambda: write_whole(path, written.getvalue()))


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
