"""Narrow networks on many threads: the gradient of a strided 1x1 convolution must not write beyond its memory."""

import subprocess
import sys
from pathlib import Path

import torch

from model.backbone import NARROW, NarrowShortcut

ROOT = Path(__file__).resolve().parents[1]
STEPS = f"""
import torch
from model.backbone import BasicBlock
torch.set_num_threads(16)
shortcut = BasicBlock({NARROW // 2}, {NARROW}, 2).downsample[0].to(memory_format=torch.channels_last)
for _ in range(40):
    crops = torch.randn(4, {NARROW // 2}, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    shortcut(crops).square().sum().backward()
"""


def test_the_same_numbers_as_a_convolution() -> None:
    torch.manual_seed(0)
    narrow = NarrowShortcut(8, 16, 1, 2, bias=False)
    usual = torch.nn.Conv2d(8, 16, 1, 2, bias=False)
    usual.load_state_dict(narrow.state_dict())
    maps = torch.randn(3, 8, 9, 10)
    torch.testing.assert_close(narrow(maps), usual(maps))


def test_a_step_on_many_threads_in_a_process_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
