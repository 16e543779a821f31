"""What turns crops into hands: the interface, and the engine that runs the network in torch."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from config import WEIGHTS, NetworkConfig
from dataloader.crop import HandCrop
from model.folded import folded
from model.network import DualBranchNetwork, StageOutput
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.checkpoint import check_fits, fill_module, read_network
from util.errors import UserError
from util.settings import from_plain

SHIPPED = WEIGHTS / "sensor.safetensors"
"""The weights that are used where none are named."""
SURFACE = 778
"""Vertices of the hand model itself; the layer adds one that closes the wrist."""
SECOND_STAGE = ("fusion.", "stages.1.")
"""What names of the second stage's tensors start with."""

Precision = Literal["auto", "fp32", "bf16"]


class EngineAnswer(NamedTuple):
    """Hands in a batch of crops, all of them right ones, in the crops' own camera frames; float32, on the CPU."""

    pixel_mm: Float[Tensor, "b 21 3"]
    """Joints of the pixel branch."""
    joints_mm: Float[Tensor, "b 21 3"]
    """Joints of the model branch's hand."""
    vertices_mm: Float[Tensor, "b 778 3"]
    """Its surface."""
    params: Float[Tensor, "b 62"]
    """Its parameters: axis-angle 3, pose 45, shape 10, scale 1 (1 = as modelled, whatever unit the weights call 1),
    translation 3 in half cubes."""


@runtime_checkable
class Engine(Protocol):
    """Crops of right hands -> hands."""

    def __call__(self, crop: HandCrop) -> EngineAnswer:
        """crop: a batch of crops of 128 samples a side, on the CPU."""
        ...

    @property
    def faces(self) -> Int[Tensor, "f 3"]:
        """Triangles over the 778 vertices of an answer."""
        ...


class TorchEngine:
    """The network in torch, batch norms folded into the convolutions, and in bf16 cast once, not at every call."""

    def __init__(
        self,
        weights: Path | None = None,
        hand: Path | None = None,
        device: str = "auto",
        stages: int | None = None,
        precision: Precision = "auto",
    ) -> None:
        """Load weights.

        Args:
            weights: .safetensors or published .pth; None: the shipped ones.
            hand: the hand model's file that the weights were trained with; None: the open hand that comes with the
                project.
            device: cpu, cuda, or auto: a GPU where there is one.
            stages: how many to compute, None: all.
            precision: of the convolutions; auto: bf16 where the device multiplies in it, fp32 elsewhere.

        Raises:
            UserError: a file is absent, damaged, or of something else; the device or the stage is not there.
        """
        self.device = chosen_device(device)
        network = load_network(weights or SHIPPED, hand, stages)
        self.network = folded(network, as_bf16=_as_bf16(precision, self.device)).to(self.device)

    @property
    def layer(self) -> HandLayer:
        """The hand model."""
        return self.network.layer

    @property
    def faces(self) -> Int[Tensor, "f 3"]:
        """Triangles over the 778 vertices of an answer: without those that close the wrist."""
        faces = self.layer.faces
        return faces[(faces < SURFACE).all(1)].cpu()

    @torch.inference_mode()
    def __call__(self, crop: HandCrop) -> EngineAnswer:
        """Hands of the last stage, for a batch of crops on any device."""
        crop = crop.to(self.device)
        return EngineAnswer(*(part.float().cpu() for part in answer_of(self.network, crop, self.network(crop)[-1])))


def answer_of(network: DualBranchNetwork, crop: HandCrop, output: StageOutput) -> EngineAnswer:
    """What an engine says of one stage's output, on the crop's device.

    The joints of both branches and the surface go to millimetres; the scale counts from the hand as modelled.
    """
    params = output.hand.params()
    scale = params.scale * (crop.cube_mm[:, 2:] / 2) / network.unit_mm(crop)
    return EngineAnswer(
        crop.mm_from_xyz(output.pixel_xyz),
        crop.mm_from_xyz(output.joints_xyz),
        crop.mm_from_xyz(output.vertices_xyz[:, :SURFACE]),
        replace(params, scale=scale).vector(),
    )


def load_network(weights: Path, hand: Path | None = None, stages: int | None = None) -> DualBranchNetwork:
    """The network of a file in float32, on the CPU, ready for use.

    Args:
        weights: .safetensors or published .pth.
        hand: the hand model's file; None: the open hand.
        stages: how many it shall have, None: all that the file has.

    Raises:
        UserError: a file is absent, damaged, or of something else, or it has fewer stages.
    """
    checkpoint = read_network(weights)
    config = from_plain(NetworkConfig, checkpoint.config, str(weights))
    state = checkpoint.state
    if stages is not None and stages not in range(1, config.stages + 1):
        raise UserError(f"{weights} has no stage {stages}: ask for one of its {config.stages}.")
    if stages is not None and stages < config.stages:
        config = replace(config, stages=stages)
        state = {name: tensor for name, tensor in state.items() if not name.startswith(SECOND_STAGE)}
    layer = HandLayer(load_hand_model(hand) if hand is not None else load_hand_model())
    build = partial(DualBranchNetwork, replace(config, precision="fp32"), layer)
    check_fits(build, state, weights)
    network = build()
    fill_module(network, state, weights)
    return network.eval().requires_grad_(False)


def chosen_device(name: str) -> torch.device:
    """cpu, cuda, or auto: a GPU where there is one. Raises UserError when it is not there."""
    there = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"There is no device '{name}': choose auto, cpu or cuda.")
    if name == "cuda" and not there:
        raise UserError("There is no GPU that torch can use: choose --device cpu.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def _as_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether convolutions are to be in bf16: asked for, or the device has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    there = torch.cpu.get_capabilities()
    return bool(there.get("amx_bf16") or there.get("avx512_bf16"))
