"""Packages that only some options need: imported when they are asked for, whether absent, present or broken."""

import importlib
from types import ModuleType

from util.errors import UserError


def optional(name: str, need: str, remedy: str) -> ModuleType:
    """A package, or a module of one.

    Args:
        name: as it is imported.
        need: what needs it, the start of the error's sentence: "--plot needs matplotlib".
        remedy: the end of it: how to install it, or do without.

    Raises:
        UserError: it is not installed; or it is, and importing it fails in whatever way.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name in _parents(name)
        broken = f"installed but broken ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        told = "not installed" if absent else broken
        raise UserError(f"{need}, which is {told}: {remedy}.") from error


def _parents(name: str) -> list[str]:
    """`a.b.c` -> a, a.b, a.b.c."""
    parts = name.split(".")
    return [".".join(parts[: k + 1]) for k in range(len(parts))]
