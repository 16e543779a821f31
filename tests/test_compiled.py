"""Options of optimisation: compiled convolutions do as the others do, and what cannot be is refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from config import EXPERIMENTS
from model import compiled
from model.compiled import COMPILERS, compile_convolutions
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.errors import UserError

SMOKE = EXPERIMENTS["smoke"]

# In a process of its own: under pytest, annotations are checked by code that is no business of the compiler.
TWO_STEPS = """
import json, sys
from dataclasses import replace
from pathlib import Path
from config import EXPERIMENTS
from training.run import run
from util.checkpoint import load_weights
smoke = EXPERIMENTS["smoke"]
network = replace(smoke.network, stages=1, precision="fp32")
found = {}
for compiled in (False, True):
    optim = replace(smoke.optim, steps=2, check_frames=4, final_frames=4, compile=compiled)
    folder = Path(sys.argv[1]) / str(compiled)
    result = run(replace(smoke, phase="pretrain", network=network, optim=optim), folder)
    found[str(compiled)] = [result["held_out_rendered_mm"], sorted(load_weights(folder / "last.safetensors")[0])]
sys.stdout.write(json.dumps(found))
"""


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler here")
def test_training_compiled_is_training(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_STEPS, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    (plain, names), (ours, our_names) = found["False"], found["True"]
    assert names == our_names and not any("_orig_mod" in name for name in names)
    assert ours == pytest.approx(plain, abs=0.1)


def test_compiling_keeps_names_and_reaches_every_convolution() -> None:
    network = DualBranchNetwork(SMOKE.network, HandLayer(load_hand_model()))
    before = list(network.state_dict())
    compile_convolutions(network)
    assert list(network.state_dict()) == before
    reached = [module for module in network.modules() if module._compiled_call_impl is not None]
    inside = {id(part) for module in reached for part in module.modules()}
    assert all(id(part) in inside for part in network.modules() if isinstance(part, torch.nn.Conv2d))


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = DualBranchNetwork(replace(SMOKE.network, stages=1), HandLayer(load_hand_model()))
    with pytest.raises(UserError, match="--device cuda"):
        compile_convolutions(network, graphs=True)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="compiler"):
        compile_convolutions(network)
