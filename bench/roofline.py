"""How fast the network could be on this machine: `python bench/roofline.py [--json] [--batch N]`.

Operations and bytes of every tensor operation of a forward and a backward pass against what the cores reach on a plain
matrix product and a plain copy. Each takes at least the longer of the two, as long as what it reads comes from memory:
what is still in a cache is quicker, so a network can fall below the sum, but not below its operations at the peak.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.scene import Scene
from bench.timing import Watch, last_line, machine, medians_ms, table
from config import COMPACT, EXPERIMENTS, FULL, NetworkConfig
from model.network import DualBranchNetwork
from util.cli import run_entry

COPIED_MIB = 256
SIDE = 2048
"""Of the matrices whose product is the peak."""
NAMES = {"compact": COMPACT, "full": FULL}


class Work(TorchDispatchMode):
    """Context that counts what tensor operations do, those of a backward pass too: a row an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[float, float]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation, and note its additions and multiplications, and the bytes it reads and writes."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if any(given.alias_info is not None and not given.alias_info.is_write for given in func._schema.returns):
            return output  # a view moves nothing
        count = flop_registry.get(func._overloadpacket)
        operations = count(*args, **kwargs, out_val=output) if count else 0
        tensors = [leaf for leaf in tree_leaves((args, kwargs, output)) if isinstance(leaf, Tensor)]
        self.rows.append((operations, sum(tensor.numel() * tensor.element_size() for tensor in tensors)))
        return output

    def least_ms(self, peak: float, bandwidth: float) -> float:
        """Milliseconds at a peak (operations a second) and a bandwidth (bytes a second), operation by operation."""
        return 1e3 * sum(max(operations / peak, moved / bandwidth) for operations, moved in self.rows)


def peaks(repeats: int = 9) -> tuple[float, float]:
    """Operations a second of a bfloat16 matrix product, and bytes a second of a copy (read and written)."""
    a, b = (torch.randn(SIDE, SIDE, dtype=torch.bfloat16) for _ in range(2))
    source = torch.empty(COPIED_MIB * 2**20, dtype=torch.uint8).fill_(1)
    target = torch.empty_like(source)
    ms = medians_ms({"product": partial(torch.mm, a, b), "copy": partial(target.copy_, source)}, repeats, 2)
    return 2 * SIDE**3 / ms["product"] * 1e3, 2 * source.numel() / ms["copy"] * 1e3


def measure(name: str, config: NetworkConfig, batch: int, peak: float, bandwidth: float, repeats: int) -> dict:
    """Operations, least and measured time of a forward and backward pass of one network."""
    scene = Scene.of(EXPERIMENTS["demo"], batch, points=1)
    torch.manual_seed(0)
    network = DualBranchNetwork(config, scene.layer)
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]

    def both_ways() -> None:
        outputs = network(scene.sample.crop)
        torch.stack([out.rows.square().mean() + out.joints_xyz.square().mean() for out in outputs]).sum().backward()

    with Work() as work:
        both_ways()
    operations = sum(done for done, _ in work.rows)
    measured = medians_ms({"step": both_ways}, repeats)["step"]
    return {
        "network": name,
        "GFLOP an image": operations / batch / 1e9,
        "MB an image": sum(moved for _, moved in work.rows) / batch / 1e6,
        "ms at peak": 1e3 * operations / peak,
        "ms at peak or bandwidth": work.least_ms(peak, bandwidth),
        "ms measured": measured,
        "GFLOP/s": operations / measured / 1e6,
        "share of peak": 1e3 * operations / measured / peak,
    }


def main(words: Sequence[str]) -> None:
    """Print peaks and a row a network."""
    parser = argparse.ArgumentParser("python bench/roofline.py", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--batch", type=int, default=48, help="images of a pass")
    parser.add_argument("--only", nargs="+", choices=list(NAMES), default=list(NAMES), help="networks")
    options = parser.parse_args(list(words))
    sys.stdout.write(f"{machine()}\n")
    with Watch() as watch:
        peak, bandwidth = peaks()
        rows = [
            measure(name, NAMES[name], options.batch, peak, bandwidth, 7 if name == "compact" else 1)
            for name in options.only
        ]
    sys.stdout.write(f"peak {peak / 1e9:.0f} GFLOP/s (bfloat16 product), {bandwidth / 1e9:.1f} GB/s (copy)\n")
    sys.stdout.write(f"forward and backward, {options.batch} images\n")
    sys.stdout.write(f"{table(list(rows[0]), [list(row.values()) for row in rows])}\n{watch.notice}\n")
    if options.json:
        sys.stdout.write(last_line(rows) + "\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
