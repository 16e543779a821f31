"""What every phase needs before its first step: device, hand, network, sources of hands."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import Popen

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from config import Experiment, NetworkConfig
from dataloader.rendered import RenderedHands
from model.compiled import compile_convolutions
from model.network import DualBranchNetwork
from model.synced_norm import with_synced_norms
from render.at_rest import settle_surface
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from training.replicas import Replicas
from util.checkpoint import check_fits, fill_module, read_network
from util.errors import UserError
from util.processes import is_first, part_at_exit, world
from util.random_state import seed_all
from util.settings import from_plain

SECOND_STAGE = ("fusion.", "stages.1.")
"""What names of the second stage's tensors start with."""


def make_fabric(experiment: Experiment) -> Fabric:
    """Device and processes as the experiment says, or torchrun; float32 outside the network's own autocast.

    Raises UserError when there is no such device, or there are not as many.
    """
    devices, nodes = _processes(experiment)
    strategy = "auto" if devices * nodes == 1 else Replicas()
    try:
        fabric = Fabric(
            accelerator=experiment.device, strategy=strategy, devices=devices, num_nodes=nodes, precision="32-true"
        )
        fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        wanted = experiment.device if devices == 1 else f"{experiment.device} for {devices} processes"
        raise UserError(f"The device {wanted} is not at hand ({error}): choose --device auto.") from error
    part_at_exit()
    seed_all(experiment.seed)
    return fabric


def started_by(fabric: Fabric) -> list[Popen]:
    """The processes that `make_fabric` has started in this one; torchrun starts them itself."""
    return list(getattr(fabric.strategy.launcher, "procs", []))


def _processes(experiment: Experiment) -> tuple[int, int]:
    """Processes on each machine, and machines."""
    if not (torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()):
        if experiment.processes < 1:
            raise UserError(f"--processes {experiment.processes} is less than 1: choose 1 or more.")
        return experiment.processes, 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def make_network(
    experiment: Experiment, fabric: Fabric, load_model: Path | None = None
) -> tuple[DualBranchNetwork, HandLayer]:
    """The network on its device, and its hand layer.

    load_model: weights to start from, of this project or published; the network is then built as they ask for, the
    experiment's own precision apart, and a line on stderr says what they are; where the experiment has one stage, a
    second one of theirs is left away. Raises UserError when they cannot be read or do not fit.
    """
    layer = HandLayer(load_hand_model(experiment.hand)).to(fabric.device)
    config, state = experiment.network, None
    if load_model is not None:
        checkpoint = read_network(load_model)
        state = checkpoint.state
        config = from_plain(NetworkConfig, checkpoint.config, str(load_model))
        config = replace(config, precision=experiment.network.precision)
        if experiment.network.stages < config.stages:
            config = replace(config, stages=1)
            state = {name: tensor for name, tensor in state.items() if not name.startswith(SECOND_STAGE)}
        if is_first():
            sys.stderr.write(f"{checkpoint.about()}\n")
    if state is not None:
        check_fits(partial(DualBranchNetwork, config, layer), state, load_model or "")
    network = DualBranchNetwork(config, layer)
    if state is not None:
        fill_module(network, state, load_model or "")
    settle_surface(layer)
    if experiment.optim.sync_batch_norm and world() > 1:
        if experiment.optim.compile or experiment.optim.cuda_graphs:
            raise UserError("Compiled networks cannot wait for other processes: leave --optim.sync-batch-norm away.")
        with_synced_norms(network)
    network = network.to(fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if experiment.optim.compile or experiment.optim.cuda_graphs:
        compile_convolutions(network, experiment.optim.cuda_graphs)
    return network, layer


def make_rendered(experiment: Experiment, device: torch.device | str = "cpu") -> RenderedHands:
    """The endless source of rendered hands, which draws on a device; the CPU's numbers are the same everywhere.

    What image translation takes is without simulated noise, where `transfer.clean` says so.
    """
    rendered = experiment.rendered
    if experiment.transfer.clean and (experiment.phase == "transfer" or experiment.transfer_net is not None):
        rendered = replace(rendered, noise=False)
    with torch.device(device):
        layer = HandLayer(load_hand_model(experiment.hand)).to(device)
        return RenderedHands(layer, experiment.sampler, experiment.sensor, rendered)
