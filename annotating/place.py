"""Where annotations go: a folder beside the data set, from which no way leads into it."""

import os
from pathlib import Path

from util.errors import UserError
from util.files import write_text
from util.reading import read_text

SHARDS = ".shards"
"""Folder of what was predicted so far; it also marks a folder as one of ours."""


class Place:
    """The folder that is written to."""

    def __init__(self, root: Path, out: Path | None) -> None:
        """Args: root: folder of the data set; out: what the user wants, None = ROOT-annotated beside it.

        Raises:
            UserError: the two lie in each other, or the folder holds something else.
        """
        self.root = root.resolve()
        out = self.root.with_name(f"{self.root.name}-annotated") if out is None else out
        self.out = out.resolve()
        if self.out.is_relative_to(self.root) or self.root.is_relative_to(self.out):
            raise UserError(f"--out {out} and the data set {root} lie in each other: give it a folder elsewhere.")
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {out} is a file: give it a folder.")
        if self.out.is_dir() and not (self.out / SHARDS).is_dir() and any(self.out.iterdir()):
            raise UserError(f"--out {out} holds other things than annotations: give it an empty or a new folder.")

    @property
    def shards(self) -> Path:
        """Folder of what was predicted so far."""
        return self.out / SHARDS

    def path(self, relative: str) -> Path:
        """A file to be written. What is written takes its place by its name, so a link there is only replaced.

        Raises:
            UserError: a link on the way leads into the data set, or out of the folder.
        """
        path = self.out / relative
        if not path.parent.resolve().is_relative_to(self.out):
            raise UserError(f"{path.parent} leads out of {self.out}, by a link: remove it.")
        return path

    def copy(self, relative: str, keep: set[int] | None = None, column: int = 0) -> Path:
        """Copy a text file of the data set, or only its lines whose number in a column (from 0) is one of `keep`.

        Raises:
            UserError: it is missing or no text.
        """
        lines = read_text(self.root / relative, "unpack the data set again").splitlines()
        if keep is not None:
            lines = [line for line in lines if line.strip() and int(float(line.split()[column])) in keep]
        path = self.path(relative)
        write_text(path, "".join(f"{line}\n" for line in lines))
        return path

    def link(self, relative: str) -> None:
        """A link to an image of the data set, where nothing is yet."""
        path = self.path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.symlink_to(self.root / relative)
