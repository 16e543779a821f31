"""The network's convolutions through torch.compile, and from there into CUDA graphs: options, off by default."""

import shutil
from importlib.util import find_spec

import torch

from model.network import DualBranchNetwork
from util.errors import UserError

COMPILERS = ("g++", "clang++", "c++", "cl")


def compile_convolutions(network: DualBranchNetwork, graphs: bool = False) -> None:
    """Compile stem, fusion and stages in place, each at its first call; names of weights stay as they are.

    Geometry and losses stay outside: their shapes follow from what a crop shows. graphs: replay the compiled parts as
    CUDA graphs; between the calls of two steps, torch.compiler.cudagraph_mark_step_begin() has to be called.

    Raises UserError when what compiles for the network's device is missing, or there are no graphs on it.
    """
    on_gpu = next(network.parameters()).is_cuda
    if graphs and not on_gpu:
        raise UserError("optim.cuda_graphs works on a GPU only: leave it away, or choose --device cuda.")
    if on_gpu and find_spec("triton") is None:
        raise UserError("optim.compile and optim.cuda_graphs need the package triton: install it, or leave them away.")
    if not on_gpu and not any(map(shutil.which, COMPILERS)):
        raise UserError("optim.compile needs a C++ compiler such as g++ on the path: install one, or leave it away.")
    blocks: list[torch.nn.Module] = [network.stem, *network.stages]
    if len(network.stages) == 2:
        blocks.append(network.fusion)
    for block in blocks:
        block.compile(mode="reduce-overhead" if graphs else "default")
