"""Files are whole or absent; settings survive the way to a file and back."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from config import EXPERIMENTS, Experiment
from util.errors import UserError
from util.files import read_json, write_json, write_whole
from util.settings import from_plain, settings, to_plain


@dataclass(frozen=True)
class Inner:
    """A group."""

    rate: float = 1.0
    folder: Path | None = None


@dataclass(frozen=True)
class Outer:
    """All kinds of settings."""

    inner: Inner = field(default_factory=Inner)
    kind: Literal["a", "b"] = "a"
    limits: tuple[float, float] = (0.0, 1.0)
    names: tuple[str, ...] = ()
    count: int | None = None
    on: bool = False


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    write_whole(file, b"old")

    def fail(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        write_whole(tmp_path / "file" / "a.bin", b"")


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"mean": float("nan"), "all": [1.5, float("inf")], "pair": (1, 2)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"mean": None, "all": [1.5, None], "pair": [1, 2]}


def test_what_is_no_json_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_survives_a_file(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", to_plain(EXPERIMENTS[name]))
    assert from_plain(Experiment, read_json(tmp_path / "config.json"), "config.json") == EXPERIMENTS[name]


def test_every_kind_of_setting_survives() -> None:
    outer = Outer(Inner(2, Path("x/y")), "b", (1.0, 2.5), ("p", "q"), 3, True)
    assert from_plain(Outer, json.loads(json.dumps(to_plain(outer))), "here") == outer
    assert from_plain(Outer, {}, "here") == Outer()
    assert dict(settings(outer))["inner.folder"] == Path("x/y")


@pytest.mark.parametrize(
    ("plain", "word"),
    [
        ({"inner": {"rat": 1.0}}, "rat"),
        ({"inner": 3}, "inner"),
        ({"inner": {"rate": "fast"}}, "rate"),
        ({"kind": "c"}, "kind"),
        ({"limits": [1.0]}, "limits"),
        ({"names": [1]}, "names"),
        ({"count": 1.5}, "count"),
        ({"on": 1}, "on"),
    ],
)
def test_wrong_settings_are_refused_by_name(plain: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        from_plain(Outer, plain, "config.json")
