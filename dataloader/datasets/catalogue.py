"""Data sets by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from config import DataConfig
from dataloader.datasets.dhg import list_dhg
from dataloader.datasets.frames import list_frames
from dataloader.datasets.hands17 import list_hands17
from dataloader.datasets.icvl import list_icvl
from dataloader.datasets.msra import list_msra
from dataloader.datasets.nyu import list_nyu
from dataloader.datasets.shrec import list_shrec
from dataloader.listing import Listing

Split = Literal["train", "test"]

DATA_SETS: dict[str, Callable[[DataConfig, Split], Listing]] = {
    "nyu": list_nyu,
    "icvl": list_icvl,
    "msra": list_msra,
    "hands17": list_hands17,
    "shrec": list_shrec,
    "dhg": list_dhg,
    "frames": list_frames,
}
"""How each data set's frames are listed; `demo`, which is made and not read, is not among them."""


def list_split(config: DataConfig, split: Split) -> Listing:
    """Frames of one split of `config.name`.

    Raises:
        UserError: what the data set's own module says is missing or damaged.
    """
    return replace(DATA_SETS[config.name](config, split), follow_links=config.follow_links)
