"""Phase transfer: Consis-CycleGAN, rendered crops made to look real without a change of the hand that they show.

CycleGAN (Zhu et al., ICCV 2017) on depth crops, with the consistency that Ren et al. (TIP 2022) ask for; what stays and
what may change is said in `training.transfer_losses`. Rendered crops come with labels, real ones without any: all that
stands in a real crop is kept as if it was the hand, and nothing is read off it, since its reader learned from rendered
crops alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from config import Experiment, TransferConfig
from dataloader.augment import Augmentation
from dataloader.crop import HandCrop
from dataloader.rendered import RenderedHands
from dataloader.store import FrameStore
from model.generator import Generator
from model.transfer import load_generator, translate
from training import transfer_losses
from training.parts import ITSELF, Counts, Part, Ready, within
from training.prefetch import rendered_steps
from training.pretrain import held_out_hands
from training.reader import Reader, Reading
from training.setup import make_fabric, make_rendered
from training.sources import load_frames
from training.transfer_loop import JUDGES, TransferLoop, TransferNetworks
from training.transfer_losses import Kept
from training.transfer_truth import label_truth, side_by_side, there_and_back
from training.translation import Translation
from util.draw import write_png
from util.errors import UserError
from util.processes import first_only
from util.run_folder import RunFolder

CONSISTENCY = ("silhouette", "depth", "joints", "features")
READ = ("joints", "features")
"""Terms that need a reader."""
PICTURED = 6


class Source(NamedTuple):
    """Crops on their way through a generator, and what of them has to stay."""

    crop: HandCrop
    kept: Kept | None
    reading: Reading | None


class TransferTerms:
    """Loss terms of one step on rendered and real crops."""

    def __init__(self, experiment: Experiment, networks: TransferNetworks, reader: Reader | None) -> None:
        self.config: TransferConfig = experiment.transfer
        self.networks, self.reader = networks, reader
        self.bf16 = experiment.network.precision == "bf16"

    def translated(self, generator: Generator, depth: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
        """Crops through a generator, as they are used."""
        return translate(generator, depth, self.config.anchored, self.bf16)

    @torch.no_grad()
    def source(self, crop: HandCrop, joints_uvd: Tensor | None, weight: float) -> Source:
        """What consistency of weight `weight` needs to know of crops; joints_uvd: labels, which real crops lack."""
        config = self.config
        if weight == 0 or not any(getattr(config, name) for name in CONSISTENCY):
            return Source(crop, None, None)
        reading = None
        if self.reader is not None and joints_uvd is not None and any(getattr(config, name) for name in READ):
            reading = self.reader(crop.depth)
        return Source(crop, Kept.of(crop, joints_uvd, config), reading)

    def counts(self, **sources: Source) -> dict[str, Tensor]:
        """What `generator_terms` divide by: the mean size of features, of each source that is read."""
        read = {name: source.reading for name, source in sources.items() if source.reading is not None}
        return {f"{name}/features": transfer_losses.feature_size(reading) for name, reading in read.items()}

    def consistency(
        self, source: Source, translated: Float[Tensor, "b 1 s s"], weight: float, counts: Counts = ITSELF
    ) -> dict[str, Tensor]:
        """Weighted terms, those of weight 0 left out. counts: `features`."""
        config = self.config
        terms: dict[str, Tensor] = {}
        if source.kept is None:
            return terms
        if config.silhouette:
            terms["silhouette"] = config.silhouette * transfer_losses.silhouette(source.kept, translated)
        if config.depth:
            terms["depth"] = config.depth * transfer_losses.depth(source.kept, translated)
        if source.reading is not None and self.reader is not None and (config.joints or config.features):
            reading = self.reader(translated)
            if config.joints:
                terms["joints"] = config.joints * transfer_losses.joints(source.reading, reading)
            if config.features:
                terms["features"] = config.features * transfer_losses.features(
                    source.reading, reading, counts.get("features")
                )
        return {name: weight * value for name, value in terms.items()}

    def generator_terms(
        self, rendered: Source, real: Source, step: int, counts: Counts = ITSELF
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Weighted terms of the generators, {direction}/{term}; and both translations: looking real, looking rendered.

        The discriminators only look on: no gradient stays with them. counts: of the method of that name.
        """
        config, networks = self.config, self.networks
        adversarial = config.adversarial * min(1.0, (step + 1) / max(config.ramp, 1))
        for judge in networks.judges:
            judge.requires_grad_(False)
        terms: dict[str, Tensor] = {}
        made: list[Tensor] = []
        ways = (
            ("to_real", "rendered", rendered, real, networks.generators, networks.judge_real),
            ("to_rendered", "real", real, rendered, networks.generators[::-1], networks.judge_rendered),
        )
        for name, of, source, wanted, (there, back), judge in ways:
            weight, returns = (1.0, 1.0) if name == "to_real" else (config.reverse, config.cycle_real)
            depth = source.crop.depth
            translated = self.translated(there, depth)
            way: dict[str, Tensor] = {}
            if adversarial or config.matching:
                verdicts, found = judge.judged(translated, self.bf16)
            if adversarial:
                way["adversarial"] = adversarial * transfer_losses.genuine(verdicts)
            if config.matching:
                with torch.no_grad():
                    wanted_found = judge.judged(wanted.crop.depth, self.bf16)[1]
                way["matching"] = config.matching * transfer_losses.matching(wanted_found, found)
            if config.cycle * returns:
                way["cycle"] = config.cycle * returns * (self.translated(back, translated) - depth).abs().mean()
            if config.identity:
                same = self.translated(there, wanted.crop.depth)
                way["identity"] = config.identity * (same - wanted.crop.depth).abs().mean()
            way |= self.consistency(source, translated, weight, within(counts, f"{of}/"))
            terms |= {f"{name}/{term}": value for term, value in way.items()}
            made.append(translated.detach())
        for judge in networks.judges:
            judge.requires_grad_(True)
        return terms, made[0], made[1]

    def judge_terms(self, name: str, genuine: Float[Tensor, "b 1 s s"], made: Tensor) -> dict[str, Tensor]:
        """A discriminator's term. name: real or rendered; made: translations to that appearance, of the pool."""
        judge = getattr(self.networks, f"judge_{name}")
        verdicts = judge(torch.cat([genuine, made]), self.bf16).split(len(genuine))
        return {f"{JUDGES}{name}": transfer_losses.told_apart(verdicts[0], torch.cat(verdicts[1:]))}


def transfer(experiment: Experiment, folder: RunFolder, resume: bool, load_model: Path | None) -> dict:
    """Train the translation; returns what it did to labels, for results.json.

    load_model: a rendered-to-real generator to start from, published or ours; the other one takes its size.
    """
    config, optim = experiment.transfer, experiment.optim
    _check(experiment)
    start = None if load_model is None else load_generator(load_model)
    frames = load_frames(experiment, "train")
    fabric = make_fabric(experiment)
    reader = None if config.reader is None else Reader.load(experiment, fabric, config.reader)
    judge = reader if config.judge is None else Reader.load(experiment, fabric, config.judge)
    rendered = make_rendered(experiment)
    networks = TransferNetworks.new(config, fabric.device, start)
    loop = TransferLoop(experiment, fabric, networks, folder, resume)
    terms_of = TransferTerms(experiment, networks, reader)
    augment = Augmentation(experiment.augment) if config.augment else None
    pinned = fabric.device.type != "cpu"
    batches = rendered_steps(experiment, rendered, loop.step, optim.steps, optim.batch, pinned, loop.learning.parts)

    def losses(step: int, part: Part) -> Ready:
        sample, seed = next(batches).to(fabric.device), experiment.seed
        generator = part.draws(seed, step, optim.real_batch)
        chosen = generator.randint(0, len(frames), part.size(optim.real_batch))
        real = frames.batch(chosen, generator, augment).to(fabric.device)
        joints_uvd = sample.crop.uvd_from_mm(sample.joints_mm)  # type: ignore[arg-type]
        of_rendered = terms_of.source(sample.crop, joints_uvd, 1.0)
        of_real = terms_of.source(real.crop, None, config.reverse)

        def terms(counts: Counts) -> dict[str, Tensor]:
            found, like_real, like_rendered = terms_of.generator_terms(of_rendered, of_real, step, counts)
            shown = loop.pools["real"].exchange(like_real, part.draws(seed, step, optim.batch).fork())
            found |= terms_of.judge_terms("real", real.crop.depth, shown)
            shown = loop.pools["rendered"].exchange(like_rendered, generator)
            return found | terms_of.judge_terms("rendered", sample.crop.depth, shown)

        return Ready(
            terms, {"rendered": sample, "real": real}, lambda: terms_of.counts(rendered=of_rendered, real=of_real)
        )

    loop.run(losses, optim.batch + optim.real_batch, picture=_shower(loop, terms_of, rendered, frames))
    translation = Translation(loop.averaged_generator(), fabric.device, config.anchored, terms_of.bf16)
    held_out = held_out_hands(rendered, config.truth_frames)
    first = held_out[0].to(fabric.device)
    first_only(lambda: write_png(folder.pictures / "translated.png", side_by_side(first, translation, frames)))
    truth = label_truth(held_out, translation, judge, frames)
    return {"transfer": truth, "dropped": {"train": dict(frames.dropped)}, "seconds": loop.seconds}


def _check(experiment: Experiment) -> None:
    """What can be said of the settings before anything slow is done. Raises UserError."""
    config = experiment.transfer
    for name in READ:
        if config.reader is None and getattr(config, name):
            raise UserError(
                f"transfer.{name} needs a network that reads joints: give --transfer.reader FILE, or set "
                f"--transfer.{name} 0."
            )
    for name, path in (("reader", config.reader), ("judge", config.judge)):
        if path is not None and not path.is_file():
            raise UserError(f"{path} does not exist: give --transfer.{name} the weights of a hand pose network.")
    if experiment.rendered.size % 4 or experiment.rendered.size < 32:
        raise UserError(f"--rendered.size {experiment.rendered.size} is no multiple of 4 from 32 on: choose 128.")


def _shower(
    loop: TransferLoop, terms_of: TransferTerms, rendered: RenderedHands, frames: FrameStore
) -> Callable[[int], None]:
    """Pictures for TensorBoard: there and back, from either side."""
    synthetic = held_out_hands(rendered, PICTURED)[0].crop.depth.to(loop.device)
    real = frames.batch(torch.linspace(0, len(frames) - 1, min(PICTURED, len(frames))).long()).crop.depth
    networks = terms_of.networks

    @torch.no_grad()
    def show(step: int) -> None:
        ways = (
            ("synthetic", synthetic, networks.to_real, networks.to_rendered),
            ("real", real.to(loop.device), networks.to_rendered, networks.to_real),
        )
        for name, depth, there, back in ways:
            translated = terms_of.translated(there, depth)
            picture = there_and_back(name, depth, translated, terms_of.translated(back, translated))
            loop.writer.add_image(name, picture, step, dataformats="HWC")

    return show
