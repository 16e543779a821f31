"""Check the project against a folder of reference numbers: `python bench/reference.py DIR` from the root.

Every check calls what training and testing call. One line each: name, worst error, tolerance, ok or FAILS.
Exit code 1 when one fails, 2 when the folder, or a file in it, is missing or damaged.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench import reference_datasets, reference_geometry, reference_networks  # noqa: E402
from bench.reference_folder import Check  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402

GROUPS = reference_geometry.GROUPS | reference_networks.GROUPS | reference_datasets.GROUPS
"""All checks, in groups that share their work."""
USAGE = "python bench/reference.py DIR"


def folder_of(words: Sequence[str]) -> Path:
    """The folder that a command line names.

    Raises:
        UserError: it names none, more than one, or none that exists.
    """
    if len(words) != 1 or words[0].startswith("-"):
        raise UserError(f"One folder of reference numbers is needed: {USAGE}.")
    folder = Path(words[0])
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one laid out as bench/reference_folder.py says.")
    return folder


def line(check: Check) -> str:
    """One check as a line of the table."""
    return f"{check.name:28} {check.error:10.2g} {check.tolerance:10.2g}  {'ok' if check.holds else 'FAILS'}"


def main(words: Sequence[str]) -> None:
    """Print the table of a folder.

    Raises:
        UserError: the folder, or a file in it, is missing or damaged.
        SystemExit: code 1, when a check fails.
    """
    folder = folder_of(words)
    logging.getLogger("dataloader").setLevel(logging.ERROR)  # that a data set has few frames is the point here
    checks: list[Check] = []
    for group in GROUPS.values():
        for check in group.checks(folder):
            checks.append(check)
            sys.stdout.write(f"{line(check)}\n")
            sys.stdout.flush()
    held = sum(check.holds for check in checks)
    sys.stdout.write(f"{held}/{len(checks)} checks hold\n")
    if held < len(checks):
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run_entry(main))
