"""Phase train: real crops without labels beside rendered hands with labels, in one batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from config import Experiment
from dataloader.augment import Augmentation
from dataloader.camera import Camera
from dataloader.crop import HandCrop
from dataloader.rendered import RenderedHands
from dataloader.sample import HandSample
from dataloader.store import FrameStore
from model.network import StageOutput
from render.hand_layer import HandLayer
from render.spheres import HandSpheres
from training.loop import Loop
from training.measures import score_frames
from training.observation import Observation, observe
from training.show import show_outputs
from training.supervised import supervised_terms
from training.two_stage import teaching_terms
from training.unlabelled import (
    Fit,
    PosePrior,
    collision,
    common_depth,
    data_to_model,
    fitting_joints,
    model_to_data,
    model_to_pixel,
    parts,
    pixel_outside,
    pixel_to_model,
    silhouette,
)

PRIOR_SEED = 1 << 59
PRIOR_POSES = 2048
HELD_OUT_SHARE = 0.05
"""Share of the training frames that only choose the best checkpoint."""


class SelfSupervision:
    """Loss terms of one step on rendered and real crops."""

    def __init__(self, experiment: Experiment, layer: HandLayer, rendered: RenderedHands) -> None:
        self.experiment = experiment
        self.layer = layer
        self.spheres = HandSpheres(layer).to(layer.template.device)
        poses = rendered.sampler.sample(PRIOR_POSES, torch.Generator().manual_seed(PRIOR_SEED)).pose
        self.prior = PosePrior(poses, experiment.unlabelled.prior_floor)

    def unlabelled_terms(
        self, crop: HandCrop, outputs: Sequence[StageOutput], step: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Unweighted terms of real crops: {term} for the last stage, stage1/{term} for the first of two.

        Box, part labels and points come from the last stage and serve both (Ren et al., TIP 2022).
        """
        config = self.experiment.unlabelled
        observation = observe(crop, outputs[-1], self.spheres, config, generator)
        terms: dict[str, Tensor] = {}
        for output in outputs[:-1]:
            fit = Fit.of(observation, output, self.layer)
            own = self._fit_terms(observation, output, fit)
            terms |= {f"stage1/{name}": value for name, value in own.items()}
        last = outputs[-1]
        fit = Fit.of(observation, last, self.layer)
        taught = fitting_joints(observation, last, fit, config, self._looseness(step))
        terms |= self._fit_terms(observation, last, fit)
        terms["pixel_to_model"] = pixel_to_model(last)
        terms["model_to_pixel"] = model_to_pixel(observation, last, taught)
        if len(outputs) == 2:
            terms |= teaching_terms(outputs[0], last)
        return terms

    def _fit_terms(self, observation: Observation, output: StageOutput, fit: Fit) -> dict[str, Tensor]:
        config = self.experiment.unlabelled
        return {
            "model_to_data": model_to_data(observation, fit),
            "common_depth": common_depth(observation, fit).mean(),
            "silhouette": silhouette(observation, output),
            "data_to_model": data_to_model(observation, fit, config),
            "parts": parts(observation, fit, config),
            "collision": collision(output, self.spheres, observation.crop.cube_mm[:, :1] / 2),
            "pixel_outside": pixel_outside(observation, output),
            "pose_prior": self.prior(output.hand.pose),
            "shape_prior": output.hand.shape.square().mean(),
        }

    def weighted(self, terms: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Terms times their weights and the ramp, those of weight 0 left out; names get the prefix real/."""
        config = self.experiment.unlabelled
        ramp = min(1.0, (step + 1) / max(config.ramp, 1))
        weights = {name: getattr(config, name.rpartition("/")[2]) * ramp for name in terms}
        return {f"real/{name}": weights[name] * value for name, value in terms.items() if weights[name] > 0}

    def rendered_terms(self, sample: HandSample, outputs: Sequence[StageOutput]) -> dict[str, Tensor]:
        """Weighted terms of rendered crops: as in pre-training, without the shape and scale terms, with collision."""
        config = self.experiment
        terms = supervised_terms(outputs, sample, self.layer, config.supervised)
        terms = {name: value for name, value in terms.items() if not name.endswith(("/shape", "/scale"))}
        unit = sample.crop.cube_mm[:, :1] / 2
        for k, output in enumerate(outputs, 1):
            terms[f"stage{k}/collision"] = config.unlabelled.collision * collision(output, self.spheres, unit)
        return {f"rendered/{name}": value for name, value in terms.items()}

    def _looseness(self, step: int) -> float:
        start = self.experiment.unlabelled.looseness
        progress = min(1.0, 2 * step / max(self.experiment.optim.steps, 1))
        return start + (1 - start) * progress


def joined(first: HandCrop, second: HandCrop) -> HandCrop:
    """Two batches of crops as one."""
    return HandCrop(
        torch.cat([first.depth, second.depth]),
        Camera(
            torch.cat([first.camera.focal, second.camera.focal]),
            torch.cat([first.camera.principal, second.camera.principal]),
        ),
        torch.cat([first.centre_mm, second.centre_mm]),
        torch.cat([first.cube_mm, second.cube_mm]),
        torch.cat([first.crop_from_image, second.crop_from_image]),
    )


def self_supervise(
    experiment: Experiment, loop: Loop, layer: HandLayer, rendered: RenderedHands, frames: FrameStore
) -> None:
    """Run the phase in a loop.

    The last part of the frames (in the order of their data set, so mostly of people of their own) is held out: on it,
    `best` is chosen by a measure that needs no labels.
    """
    optim = experiment.optim
    device = loop.fabric.device
    augment = Augmentation(experiment.augment)
    terms_of = SelfSupervision(experiment, layer, rendered)
    n_held_out = max(1, int(len(frames) * HELD_OUT_SHARE))
    train = frames.subset(range(len(frames) - n_held_out))
    held_out = torch.linspace(len(train), len(frames) - 1, min(optim.check_frames, n_held_out)).long()
    checked = frames.subset(held_out)

    def losses(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        if experiment.source == "rendered":
            sample = rendered.batch(optim.batch + optim.real_batch, generator).to(device)
            return terms_of.rendered_terms(sample, loop.wrapped(sample.crop))
        sample = rendered.batch(optim.batch, generator).to(device)
        chosen = torch.randint(len(train), (optim.real_batch,), generator=generator)
        real = train.batch(chosen, generator, augment).to(device)
        outputs = loop.wrapped(joined(sample.crop, real.crop))
        of_rendered, of_real = zip(*(output.split(optim.batch) for output in outputs), strict=True)
        terms = terms_of.rendered_terms(sample, of_rendered)
        unlabelled = terms_of.unlabelled_terms(real.crop, of_real, step, generator)
        return terms | terms_of.weighted(unlabelled, step)

    def judge(network: nn.Module, step: int) -> float:
        scores = score_frames(network, checked, layer)
        last = f"stage{len(network.stages)}"  # type: ignore[arg-type]
        for branch, measures in scores.items():
            for name, value in measures.items():
                if isinstance(value, dict) and "mean" in value:
                    loop.writer.add_scalar(f"held_out/{branch}/{name}", value["mean"], step)
        model = scores[f"{last}_model"]
        return model["surface_mm"]["mean"] / 10 + 1 - model["iou"]["mean"]

    def picture(step: int) -> None:
        with loop.averaged_weights() as network:
            show_outputs(loop.writer, network, checked.batch(range(min(8, len(checked)))), step)

    loop.run(losses, optim.batch + optim.real_batch, judge, picture)
