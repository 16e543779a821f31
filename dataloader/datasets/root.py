"""The folder of a data set, as the settings name it."""

from pathlib import Path

from config import DataConfig
from util.errors import UserError


def data_root(config: DataConfig, title: str) -> Path:
    """Folder of the data set that its users call `title`.

    Raises:
        UserError: data.root is not set, or no folder.
    """
    if config.root is None:
        raise UserError(f"data.root is not set: point it at the folder of the unpacked {title} data set.")
    if not config.root.is_dir():
        raise UserError(f"{config.root} is no folder: point data.root at the unpacked {title} data set.")
    return config.root
