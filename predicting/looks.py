"""Networks that look at a crop and say one thing of it: which hand it shows, or whether it shows one at all."""

from functools import partial
from pathlib import Path
from typing import Literal

from config import LooksConfig
from model.looks import LooksNetwork
from util.checkpoint import check_fits, fill_module, read_checkpoint
from util.errors import UserError
from util.settings import from_plain

PURPOSES = {"side": "tell right hands from left ones", "presence": "tell hands from other things"}
"""What such networks do, by the only key of their files' settings."""


def load_looks(weights: Path, purpose: Literal["side", "presence"]) -> LooksNetwork:
    """The network of a file, ready for use.

    Raises:
        UserError: the file is absent, damaged, or of something else.
    """
    checkpoint = read_checkpoint(weights)
    if set(checkpoint.config) != {purpose}:
        raise UserError(f"{weights} does not {PURPOSES[purpose]}: take the file that comes with the project.")
    config = from_plain(LooksConfig, checkpoint.config[purpose], str(weights))
    build = partial(LooksNetwork, config)
    check_fits(build, checkpoint.state, weights)
    network = build()
    fill_module(network, checkpoint.state, weights)
    return network.eval().requires_grad_(False)
