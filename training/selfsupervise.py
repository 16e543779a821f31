"""Phase train: real crops without labels beside rendered hands with labels, in one batch."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from config import Experiment
from dataloader.augment import Augmentation
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
from training.parts import ITSELF, Counts, Part, Ready, within
from training.prefetch import rendered_steps
from training.show import show_outputs
from training.sources import held_out_split
from training.supervised import supervised_terms
from training.teacher import taught_batch, teacher_terms, with_discs_cut_out
from training.translation import Translation
from training.two_stage import teaching_terms
from training.unlabelled import (
    Fit,
    PosePrior,
    collisions,
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
from util.draws import Draws
from util.streams import stream

PRIOR_POSES = 2048


class SelfSupervision:
    """Loss terms of one step on rendered and real crops."""

    def __init__(self, experiment: Experiment, layer: HandLayer, rendered: RenderedHands) -> None:
        self.experiment = experiment
        self.layer = layer
        self.spheres = HandSpheres(layer).to(layer.template.device)
        poses = rendered.sampler.sample(PRIOR_POSES, stream("pose prior")).pose
        self.prior = PosePrior(poses, experiment.unlabelled.prior_floor).to(layer.template.device)

    def unlabelled_terms(
        self,
        crop: HandCrop,
        outputs: Sequence[StageOutput],
        step: int,
        generator: Draws,
        counts: Counts = ITSELF,
    ) -> dict[str, Tensor]:
        """Unweighted terms of real crops: {term} for the last stage, stage1/{term} for the first of two.

        Terms of weight 0 are not computed. Box, part labels and points come from the last stage and serve both (Ren et
        al., TIP 2022). counts: `cells`.
        """
        config = self.experiment.unlabelled
        observation = observe(crop, outputs[-1], self.spheres, config, generator)
        prefixes = ("stage1/", "")[-len(outputs) :]
        fits = Fit.of_stages(observation, outputs, self.layer, config.parts > 0 or config.model_to_pixel > 0)
        terms: dict[str, Tensor] = {}
        for prefix, output, fit in zip(prefixes, outputs, fits, strict=True):
            terms |= {prefix + name: value for name, value in self._fit_terms(observation, output, fit).items()}
        if config.collision > 0:
            collided = collisions(outputs, self.spheres, crop.cube_mm[:, :1] / 2)
            terms |= {f"{prefix}collision": value for prefix, value in zip(prefixes, collided, strict=True)}
        last, fit = outputs[-1], fits[-1]
        if config.pixel_to_model > 0:
            terms["pixel_to_model"] = pixel_to_model(last)
        if config.model_to_pixel > 0:
            taught = fitting_joints(observation, last, fit, config, self._looseness(step))
            terms["model_to_pixel"] = model_to_pixel(observation, last, taught)
        if len(outputs) == 2:
            terms |= teaching_terms(outputs[0], last, counts)
        return terms

    def _fit_terms(self, observation: Observation, output: StageOutput, fit: Fit) -> dict[str, Tensor]:
        config = self.experiment.unlabelled
        terms: dict[str, Callable[[], Tensor]] = {
            "model_to_data": lambda: model_to_data(observation, fit),
            "common_depth": lambda: common_depth(observation, fit).mean(),
            "silhouette": lambda: silhouette(observation, output),
            "data_to_model": lambda: data_to_model(observation, fit, config),
            "parts": lambda: parts(observation, fit, config),
            "pixel_outside": lambda: pixel_outside(observation, output),
            "pose_prior": lambda: self.prior(output.hand.pose),
            "shape_prior": lambda: output.hand.shape.square().mean(),
        }
        return {name: term() for name, term in terms.items() if getattr(config, name) > 0}

    def weighted(self, terms: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Terms times their weights and the ramp, those of weight 0 left out; names get the prefix real/."""
        config = self.experiment.unlabelled
        ramp = min(1.0, (step + 1) / max(config.ramp, 1))
        weights = {name: getattr(config, name.rpartition("/")[2]) * ramp for name in terms}
        return {f"real/{name}": weights[name] * value for name, value in terms.items() if weights[name] > 0}

    def rendered_terms(
        self, sample: HandSample, outputs: Sequence[StageOutput], counts: Counts = ITSELF
    ) -> dict[str, Tensor]:
        """Weighted terms of rendered crops: as in pre-training, without the shape and scale terms, with collision."""
        config = self.experiment
        terms = supervised_terms(outputs, sample, self.layer, config.supervised, counts)
        terms = {name: value for name, value in terms.items() if not name.endswith(("/shape", "/scale"))}
        for k, value in enumerate(collisions(outputs, self.spheres, sample.crop.cube_mm[:, :1] / 2), 1):
            terms[f"stage{k}/collision"] = config.unlabelled.collision * value
        return {f"rendered/{name}": value for name, value in terms.items()}

    def _looseness(self, step: int) -> float:
        start = self.experiment.unlabelled.looseness
        progress = min(1.0, 2 * step / max(self.experiment.optim.steps, 1))
        return start + (1 - start) * progress


def self_supervise(
    experiment: Experiment, loop: Loop, layer: HandLayer, rendered: RenderedHands, frames: FrameStore
) -> None:
    """Run the phase in a loop; rendered crops are translated first where there is a `transfer_net`.

    The last part of the frames (in the order of their data set, so mostly of people of their own) is held out: on it,
    `best` is chosen by a measure that needs no labels.
    """
    optim = experiment.optim
    device = loop.fabric.device
    translation = Translation.of(experiment, loop.fabric)
    augment = Augmentation(experiment.augment)
    taught = max(experiment.unlabelled.teacher_pixel, experiment.unlabelled.teacher_surface) > 0
    terms_of = SelfSupervision(experiment, layer, rendered)
    train, checked = held_out_split(frames, optim.check_frames)
    batch = optim.batch + (optim.real_batch if experiment.source == "rendered" else 0)
    parts, pinned, network = loop.learning.parts, device.type != "cpu", loop.network
    batches = rendered_steps(experiment, rendered, loop.step, optim.steps, batch, pinned, parts)

    def on_rendered(step: int, part: Part) -> Ready:
        sample = translation(next(batches))
        return Ready(
            lambda counts: terms_of.rendered_terms(sample, loop.wrapped(sample.crop), counts),
            {"rendered": sample},
            lambda: {"cells": network.cells_seen(sample.crop.depth).sum()},
        )

    def losses(step: int, part: Part) -> Ready:
        sample, generator = translation(next(batches)), part.draws(experiment.seed, step, optim.real_batch)
        chosen = generator.randint(0, len(train), part.size(optim.real_batch))
        if taught:
            with loop.averaged_weights() as teacher:
                real, sure = taught_batch(teacher, train, chosen, generator, augment, device)
        else:
            real, sure = train.batch(chosen, generator, augment).to(device), None
        seen = real.crop.with_depth(with_discs_cut_out(real.crop.depth, experiment.augment, generator))

        def terms(counts: Counts) -> dict[str, Tensor]:
            outputs = loop.wrapped(sample.crop.joined(seen))
            of_rendered, of_real = zip(*(output.split(len(sample)) for output in outputs), strict=True)
            labelled = terms_of.rendered_terms(sample, of_rendered, within(counts, "rendered/"))
            unlabelled = terms_of.unlabelled_terms(real.crop, of_real, step, generator, within(counts, "real/"))
            if sure is not None:
                unlabelled |= teacher_terms(real, sure, of_real[-1])
            return labelled | terms_of.weighted(unlabelled, step)

        def counts() -> dict[str, Tensor]:
            crops = {"rendered/cells": sample.crop, "real/cells": seen}
            return {name: network.cells_seen(crop.depth).sum() for name, crop in crops.items()}

        return Ready(terms, {"rendered": sample, "real": real}, counts)

    def picture(step: int) -> None:
        with loop.averaged_weights() as network:
            show_outputs(loop.writer, network, checked.batch(range(min(8, len(checked)))), step)

    steps = on_rendered if experiment.source == "rendered" else losses
    loop.run(steps, optim.batch + optim.real_batch, unlabelled_judge(loop, layer, checked), picture)


def unlabelled_judge(loop: Loop, layer: HandLayer, checked: FrameStore) -> Callable[[nn.Module, int], float]:
    """A score of held-out frames that needs no labels: distance to the surface and overlap; all measures are logged."""

    def judge(network: nn.Module, step: int) -> float:
        scores = score_frames(network, checked, layer)
        last = f"stage{len(network.stages)}"  # type: ignore[arg-type]
        for branch, measures in scores.items():
            for name, value in measures.items():
                if isinstance(value, dict) and "mean" in value:
                    loop.writer.add_scalar(f"held_out/{branch}/{name}", value["mean"], step)
        model = scores[f"{last}_model"]
        return model["surface_mm"]["mean"] / 10 + 1 - model["iou"]["mean"]

    return judge
