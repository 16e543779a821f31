"""Settings (frozen dataclasses) to plain values and back: what a run folder and a checkpoint keep of them."""

import dataclasses
import math
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from config import Experiment
from util.errors import UserError
from util.files import read_json
from util.reading import is_plain, readable

T = TypeVar("T")

LARGEST, MOST = sys.float_info.max, 2**63 - 1
"""Floats are finite, and whole numbers what 64 bits hold."""


def to_plain(value: Any) -> Any:
    """Nested dictionaries, lists, strings, numbers and None that JSON can hold; paths become strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[T], plain: Any, source: str) -> T:
    """The settings of type `kind` that `to_plain` made `plain` from.

    A field that `plain` lacks keeps its default, so that an older file stays readable.

    Args:
        kind: the dataclass.
        plain: what `to_plain` returned, possibly by way of JSON.
        source: the file it came from, for the error message.

    Raises:
        UserError: a field that `kind` does not have, or a value of the wrong type.
    """
    return _build(kind, plain, source, kind.__name__)


def settings(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each single setting of a dataclass with its dotted name, as the command line spells it."""
    for field in dataclasses.fields(value):
        item, name = getattr(value, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(item):
            yield from settings(item, f"{name}.")
        else:
            yield name, item


def wild_setting(value: Any) -> str | None:
    """The dotted name of the first setting that is a number and not finite or beyond 64 bits, None where none is."""
    for name, item in settings(value):
        for number in item if isinstance(item, tuple) else (item,):
            if isinstance(number, float) and not math.isfinite(number):
                return name
            if isinstance(number, int) and abs(number) > MOST:
                return name
    return None


def saved_experiment(path: Path, kind: type[T] = Experiment) -> T:
    """The settings that the run in a folder was started with.

    kind: the dataclass that they are of.

    Raises:
        UserError: the folder holds no run, or one whose settings this version does not know.
    """
    file = path / "config.json"
    if not is_plain(file):
        raise UserError(f"{path} holds no run to resume: start it without --resume, or check --run-dir.")
    return from_plain(kind, read_json(file), str(file))


def _build(kind: Any, plain: Any, source: str, name: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, plain, source, name)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if plain is None and type(None) in arguments:
            return None
        return _first_that_fits([a for a in arguments if a is not type(None)], plain, source, name)
    if origin is Literal and isinstance(plain, str | int) and plain in arguments:
        return plain
    if origin is tuple and isinstance(plain, list):
        kinds = [arguments[0]] * len(plain) if arguments[1:] == (Ellipsis,) else list(arguments)
        if len(kinds) == len(plain):
            return tuple(
                _build(k, p, source, f"{name}[{i}]") for i, (k, p) in enumerate(zip(kinds, plain, strict=True))
            )
    if kind is Path and isinstance(plain, str):
        return Path(plain)
    if kind is float and isinstance(plain, (int, float)) and not isinstance(plain, bool) and abs(plain) <= LARGEST:
        return float(plain)
    if kind is int and type(plain) is int and abs(plain) <= MOST:
        return plain
    if kind in (bool, str) and type(plain) is kind:
        return plain
    raise UserError(f"{source} gives {name} the value {readable(repr(plain))}, which is not of type {_spelled(kind)}.")


def _build_dataclass(kind: type, plain: Any, source: str, name: str) -> Any:
    if not isinstance(plain, Mapping):
        raise UserError(f"{source} gives {name} the value {readable(repr(plain))}, where a group of settings belongs.")
    hints = get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(plain) - set(known), key=str)
    if unknown:
        raise UserError(f"{source} holds settings that {name} does not have: {readable(', '.join(map(str, unknown)))}.")
    return kind(**{key: _build(hints[key], plain[key], source, f"{name}.{key}") for key in known if key in plain})


def _first_that_fits(kinds: list[Any], plain: Any, source: str, name: str) -> Any:
    for kind in kinds[:-1]:
        try:
            return _build(kind, plain, source, name)
        except UserError:
            continue
    return _build(kinds[-1], plain, source, name)


def _spelled(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
