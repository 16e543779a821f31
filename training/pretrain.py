"""Phase pretrain: the network learns from rendered hands, whose labels are exact."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from config import Experiment
from dataloader.rendered import RenderedHands
from dataloader.sample import HandSample
from training.loop import Loop
from training.measures import branch_joints_mm
from training.parts import Counts, Part, Ready
from training.prefetch import rendered_steps
from training.setup import make_fabric, make_network, make_rendered
from training.show import show_outputs
from training.supervised import supervised_terms
from training.translation import Translation
from util.joints import MANO21
from util.metrics import JointErrors
from util.processes import shared
from util.run_folder import RunFolder
from util.streams import stream


def pretrain(experiment: Experiment, folder: RunFolder, resume: bool, load_model: Path | None) -> dict:
    """Train on rendered hands; returns the held-out errors for results.json."""
    fabric = make_fabric(experiment)
    network, layer = make_network(experiment, fabric, load_model)
    translation = Translation.of(experiment, fabric)
    rendered = make_rendered(experiment)
    held_out = held_out_hands(rendered, experiment.optim.check_frames, translation=translation)
    loop = Loop(experiment, fabric, network, folder, resume)

    pinned, optim = fabric.device.type != "cpu", experiment.optim
    source = make_rendered(experiment, fabric.device) if optim.draw == "device" else rendered
    batches = rendered_steps(experiment, source, loop.step, optim.steps, optim.batch, pinned, loop.learning.parts)

    def losses(step: int, part: Part) -> Ready:
        sample = translation(next(batches))
        stages = 1 if step < experiment.optim.first_stage_steps else None

        def terms(counts: Counts) -> dict[str, Tensor]:
            return supervised_terms(loop.wrapped(sample.crop, stages), sample, layer, experiment.supervised, counts)

        return Ready(terms, {"rendered": sample}, lambda: {"cells": network.cells_seen(sample.crop.depth).sum()})

    def judge(network: nn.Module, step: int) -> float:
        errors = held_out_errors(network, held_out)
        for name, mm in errors.items():
            loop.writer.add_scalar(f"held_out_mm/{name}", mm, step)
        return min(errors.values())

    loop.run(losses, experiment.optim.batch, judge, picture=_shower(loop, held_out[0]))
    errors = held_out_final(loop, rendered, experiment.optim.final_frames, translation)
    return {"held_out_rendered_mm": errors, "seconds": loop.seconds}


def held_out_final(
    loop: Loop, rendered: RenderedHands, frames: int, translation: Translation | None = None
) -> dict[str, float]:
    """Errors of the averaged weights on many held-out rendered hands."""
    with loop.averaged_weights() as network:
        return held_out_errors(network, held_out_hands(rendered, frames, translation=translation))


def held_out_hands(
    rendered: RenderedHands, frames: int, batch: int = 64, translation: Translation | None = None
) -> list[HandSample]:
    """The same rendered hands every time, never met in training; translated as those of training are."""
    samples = [
        rendered.batch(min(batch, frames - at), stream("held-out rendered hands", at)) for at in range(0, frames, batch)
    ]
    return samples if translation is None else [translation(sample).to(sample.crop.depth.device) for sample in samples]


@torch.no_grad()
def held_out_errors(network: nn.Module, samples: list[HandSample]) -> dict[str, float]:
    """Mean joint error (mm) of each branch of each stage."""
    device = next(network.parameters()).device

    def joints_mm(i: int) -> dict[str, Tensor]:
        crop = samples[i].crop.to(device)
        return {name: mm.cpu() for name, mm in branch_joints_mm(network(crop), crop).items()}

    batches = shared(len(samples), joints_mm)
    found = {name: [batch[name] for batch in batches] for name in batches[0]}
    true_mm = torch.cat([sample.joints_mm for sample in samples]).numpy()  # type: ignore[arg-type]
    return {
        name: JointErrors.between(torch.cat(mm).numpy(), true_mm, MANO21.names).mean_mm for name, mm in found.items()
    }


def _shower(loop: Loop, sample: HandSample) -> Callable[[int], None]:
    def show(step: int) -> None:
        with loop.averaged_weights() as network:
            show_outputs(loop.writer, network, sample, step)

    return show
