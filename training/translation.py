"""Rendered crops made to look like a sensor's by a generator (`transfer_net`), before a network learns from them."""

from dataclasses import replace

import torch
from lightning_fabric import Fabric

from config import Experiment
from dataloader.sample import HandSample
from model.generator import Generator
from model.transfer import load_generator, translate
from util.errors import UserError


class Translation:
    """Callable: rendered samples -> the same samples, labels included, in the appearance that a generator gives."""

    def __init__(self, generator: Generator | None, device: torch.device, anchored: bool, bf16: bool) -> None:
        """generator: None leaves samples as they are."""
        self.device, self.anchored, self.bf16 = device, anchored, bf16
        self.generator = generator
        if generator is not None:
            self.generator = generator.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def of(experiment: Experiment, fabric: Fabric) -> "Translation":
        """The experiment's own. Raises UserError as `transfer_generator` does."""
        bf16 = experiment.network.precision == "bf16"
        return Translation(transfer_generator(experiment), fabric.device, experiment.transfer.anchored, bf16)

    @torch.no_grad()
    def __call__(self, sample: HandSample) -> HandSample:
        """On the device of training, whatever device the sample is on."""
        sample = sample.to(self.device)
        if self.generator is None:
            return sample
        depth = translate(self.generator, sample.crop.depth, self.anchored, self.bf16)
        return replace(sample, crop=sample.crop.with_depth(depth))


def transfer_generator(experiment: Experiment) -> Generator | None:
    """The generator that `transfer_net` names, None where it names none.

    Raises UserError when the file is absent or holds no generator, or the experiment's crops do not fit one.
    """
    path = experiment.transfer_net
    if path is None:
        return None
    if not path.is_file():
        raise UserError(f"{path} does not exist: give --transfer-net the weights of a generator.")
    if experiment.rendered.size % 4:
        raise UserError(
            f"The generator {path} takes crops whose side is a multiple of 4, not --rendered.size "
            f"{experiment.rendered.size}: choose 128."
        )
    return load_generator(path)
