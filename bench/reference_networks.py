"""Offset maps, the L1 loss, the two-stage network and the image translation network against the reference.

The networks' weights are made from the tensors' names, written to a file as published ones come, and taken in the way
a user's file is.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from bench.reference_folder import Arrays, Group, worst, worst_share
from bench.reference_weights import seeded_state
from config import EXPERIMENTS, FULL
from model.network import map_images
from model.offset_maps import Cells, read_maps
from model.transfer import load_generator
from training.setup import make_fabric, make_network
from training.supervised import smooth_l1
from util.files import read_json


def _seeded(keys: Path) -> dict[str, Tensor]:
    """Weights for the names and shapes in a file."""
    read_json(keys)  # tells a missing or damaged file in one sentence
    return seeded_state(keys)


def measure_offset_maps(folder: Path) -> dict[str, float]:
    """Joints -> maps (every 4th cell is stored) -> joints, and joints off noisy maps in half precision."""
    known = Arrays(folder / "offset_maps.npz")
    noisy = known["noisy_maps"].float()
    side = noisy.shape[-1]
    cells = Cells.of(known["image"], side)
    images = map_images(known["joint_uvd"], known["image"], side)
    rows, noisy_rows = (maps.flatten(2).transpose(1, 2) for maps in (images, noisy))
    return {
        "offset_maps/maps": worst(images[..., ::4, ::4], known["maps"]),
        "offset_maps/decoded": worst(read_maps(rows, cells), known["decoded"]),
        "offset_maps/decoded_noisy": worst(read_maps(noisy_rows, cells), known["decoded_noisy"]),
    }


def measure_smooth_l1(folder: Path) -> dict[str, float]:
    """The L1 loss with a knee of 0.01."""
    known = Arrays(folder / "smooth_l1.npz")
    return {"smooth_l1/loss": worst(smooth_l1(known["x"] - known["y"]).mean(), known["loss"])}


@torch.no_grad()
def measure_network(folder: Path) -> dict[str, float]:
    """Maps (every 8th cell is stored) and hand parameters of both stages; the second sees the given hand."""
    known, state = Arrays(folder / "network.npz"), _seeded(folder / "network_state_dict_keys.json")
    precise = replace(FULL, precision="fp32")
    experiment = replace(EXPERIMENTS["demo"], device="cpu", network=precise, hand=folder / "MANO_RIGHT.pkl")
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "published.pth"
        torch.save({"model": state, "optimizer": {}, "epoch": 0}, path)
        network = make_network(experiment, make_fabric(experiment), path)[0].eval()
    stem, first = network.first_maps(known["image"])
    seen = map_images(known["stage2_joint_uvd"], known["stage2_model_image"], first.maps.shape[-1])
    second = network.second_maps(stem, first, seen)
    errors = {"network/tensors": float(len(network.state_dict()) != len(state))}
    for stage, answer in enumerate((first, second)):
        joints = torch.zeros_like(known["stage2_joint_uvd"])  # the published head does not look at them
        params = network.stage(stage).head(answer.pooled, joints).params().vector()
        for name, ours in ((f"maps{stage + 1}", answer.maps[..., ::8, ::8]), (f"params{stage + 1}", params)):
            errors[f"network/{name}"] = worst(ours, known[name])
            errors[f"network/{name} (relative)"] = worst_share(ours, known[name])
    return errors


@torch.no_grad()
def measure_transfer(folder: Path) -> dict[str, float]:
    """A crop in the sensor's look."""
    known, state = Arrays(folder / "transfer.npz"), _seeded(folder / "transfer_state_dict_keys.json")
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "latest_net_G_A.pth"
        torch.save(state, path)
        generator = load_generator(path).eval()
    return {
        "transfer/tensors": float(len(generator.state_dict()) != len(state)),
        "transfer/translated": worst(generator(known["image"]), known["translated"]),
    }


GROUPS = {
    "offset_maps": Group(
        measure_offset_maps,
        {"offset_maps/maps": 1e-5, "offset_maps/decoded": 1e-5, "offset_maps/decoded_noisy": 1e-3},
    ),
    "smooth_l1": Group(measure_smooth_l1, {"smooth_l1/loss": 1e-7}),
    "network": Group(
        measure_network,
        {
            "network/tensors": 0,
            "network/maps1": 1e-3,
            "network/maps1 (relative)": 1e-4,
            "network/params1": 1e-3,
            "network/params1 (relative)": 1e-4,
            "network/maps2": 1e-3,
            "network/maps2 (relative)": 1e-4,
            "network/params2": 1e-3,
            "network/params2 (relative)": 1e-4,
        },
    ),
    "transfer": Group(measure_transfer, {"transfer/tensors": 0, "transfer/translated": 1e-4}),
}
"""By file."""
