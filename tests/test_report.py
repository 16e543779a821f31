"""The page works in a browser: it loads, draws, turns, scrubs and plays, complains of nothing and asks for nothing."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_browser
from predicted import WITHOUT_HAND, sequence

from predicting.output.drawing import Surface, view_hand
from predicting.output.report import MOST_POINTS, frame_points, write_report
from predicting.prediction import no_hand
from render.hand_model import load_hand_model

AT = "document.body.dataset.frame"
"""The frame that the page shows."""
CORNER = 8
"""Pixels that the 3D view is rounded by."""
TITLE_THAT_BREAKS_OUT = "</script><script>boom()</script>&<b>.png"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sequence's page; a frame's name tries to be more than a name."""
    frames, predictions = sequence()
    surface = Surface.of(load_hand_model())
    views = [view_hand(f, p, surface) for f, p in zip(frames, predictions, strict=True)]
    named = [replace(predictions[0], frame=TITLE_THAT_BREAKS_OUT), *predictions[1:]]
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, frames, named, views, surface)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("there is no Chromium on the path")
    with Browser(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def told(path: Path) -> dict:
    """The data in a page."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


def numbers(text: str, kind: str = "<i2") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).reshape(-1, 3)


def test_the_page_has_what_was_predicted(report: Path) -> None:
    frames, predictions = sequence()
    data = told(report)
    assert data["frames"][0]["frame"] == TITLE_THAT_BREAKS_OUT
    surface = Surface.of(load_hand_model())
    np.testing.assert_array_equal(numbers(data["faces"], "<u2"), surface.closed_faces)
    for frame, row, prediction in zip(frames, data["frames"], predictions, strict=True):
        origin = np.array(row["origin_mm"])
        points = numbers(row["points"]) / 10 + origin
        assert 0 < len(points) <= MOST_POINTS
        pixels = np.round(points[:, :2] / points[:, 2:] * 200 + (100, 75) - 0.5).astype(int)
        np.testing.assert_allclose(points[:, 2], frame.depth_mm[pixels[:, 1], pixels[:, 0]], atol=0.06)
        if prediction.status == "no hand":
            assert "vertices" not in row
            continue
        np.testing.assert_allclose(numbers(row["vertices"])[:778] / 10 + origin, prediction.vertices_mm, atol=0.06)
        np.testing.assert_allclose(numbers(row["joints"]) / 10 + origin, prediction.joints_mm, atol=0.06)


def test_the_page_stays_small_and_alone(report: Path) -> None:
    text = report.read_text("utf-8")
    assert not re.search(r"<(?:script|img|link)[^>]+(?:src|href)=[\"'](?!data:)", text), "nothing is fetched"
    data = re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)
    assert data and len(data[1]) / 6 < 40_000, "bytes a frame"


def test_long_sequences_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predicting.output.report.MOST_FRAMES", 5)
    frames = [replace(sequence()[0][WITHOUT_HAND], name=str(i)) for i in range(8)]
    predictions = [no_hand(frame.name, 250.0) for frame in frames]
    path = tmp_path / "report.html"
    write_report(path, frames, predictions, [None] * 8, Surface.of(load_hand_model()))
    assert [row["frame"] for row in told(path)["frames"]] == ["0", "2", "4", "5", "7"]
    text = path.read_text("utf-8")
    assert "8 frames: 8 no hand." in text and "shows 5 of them" in text


def test_a_frame_without_readings_has_no_points() -> None:
    frame = sequence()[0][0]
    empty = replace(frame, depth_mm=np.zeros_like(frame.depth_mm))
    assert frame_points(empty, np.zeros(3), 3200.0).shape == (0, 3)


def box(browser: Browser) -> list[float]:
    """Left, top, right and bottom of the 3D view."""
    edges = "(b => [b.left, b.top, b.right, b.bottom])"
    return browser.value(f"{edges}(document.getElementById('stage').getBoundingClientRect())")


def stage(browser: Browser) -> np.ndarray:
    """What the 3D view shows."""
    left, top, right, bottom = (round(edge) for edge in box(browser))
    return browser.picture()[top + CORNER : bottom - CORNER, left + CORNER : right - CORNER].astype(int)


def drawn(picture: np.ndarray) -> int:
    """Pixels that are not the stage's colour."""
    return int((np.abs(picture - (0x14, 0x16, 0x1A)).max(-1) > 24).sum())


def choose(browser: Browser, index: int) -> None:
    """Pull the slider to a frame."""
    pull = "(s => { s.value = %d; s.dispatchEvent(new Event('input')); })(document.getElementById('time'))"
    browser.value(pull % index)


def tick(browser: Browser, choice: str) -> None:
    browser.value(f"document.getElementById('{choice}').click()")


def test_the_page_at_work(browser: Browser, report: Path) -> None:
    browser.open(report)
    assert browser.value(AT) == "0"
    assert TITLE_THAT_BREAKS_OUT in browser.value("document.getElementById('now').textContent")
    rows = browser.value("[...document.querySelectorAll('#measures tbody tr')].map(r => r.textContent)")
    assert len(rows) == 6 and "no hand" in rows[WITHOUT_HAND]
    loaded = "Promise.all([...document.images].map(i => i.decode())).then(() => document.images.length)"
    assert browser.value(loaded) == 6

    first = stage(browser)
    assert drawn(first) > 0.02 * first[..., 0].size
    bones = sum(((np.abs(first - colour).max(-1)) < 40).sum() for colour in ((60, 150, 230), (90, 190, 80)))
    assert bones > 50, "the skeleton has its colours"

    choose(browser, 3)
    third = stage(browser)
    assert browser.value(AT) == "3"
    assert (np.abs(third - first).max(-1) > 24).sum() > 2000, "another frame is another picture"
    choose(browser, 0)
    np.testing.assert_allclose(stage(browser), first, atol=3)

    left, top, right, bottom = box(browser)
    middle = (left + right) / 2, (top + bottom) / 2
    browser.drag(middle, (middle[0] + 150, middle[1] + 40))
    assert (np.abs(stage(browser) - first).max(-1) > 24).sum() > 2000, "it turns"

    amounts = [drawn(stage(browser))]
    for choice in ("bones", "mesh", "points"):
        tick(browser, choice)
        amounts.append(drawn(stage(browser)))
    assert amounts[0] >= amounts[1] > amounts[2] > amounts[3] == 0, "each choice takes something away"
    for choice in ("bones", "mesh", "points"):
        tick(browser, choice)

    choose(browser, WITHOUT_HAND)
    assert "no hand" in browser.value("document.getElementById('now').textContent")
    browser.press("ArrowRight")
    assert browser.value(AT) == str(WITHOUT_HAND + 1)
    browser.value("document.querySelectorAll('#sheet button')[5].click()")
    assert "left" in browser.value("document.getElementById('now').textContent")
    tick(browser, "follow")
    tick(browser, "follow")
    tick(browser, "play")
    moved = f"(async () => {{ while ({AT} === '5') await new Promise(go => setTimeout(go, 20)); return {AT}; }})()"
    assert int(browser.value(moved)) < 5, "it plays on from the end to the start"
    tick(browser, "play")
    stopped = f"(at => new Promise(go => setTimeout(() => go(at === {AT}), 300)))({AT})"
    assert browser.value(stopped)

    assert browser.complaints == []
    assert [address for address in browser.requests if not address.startswith(("file:", "data:", "about:"))] == []


def test_the_page_without_3d_still_tells_everything(browser: Browser, report: Path) -> None:
    refuse = "HTMLCanvasElement.prototype.getContext = () => null"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=refuse)["identifier"]
    browser.open(report)
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    told_so = "(n => n.hidden ? '' : n.textContent)(document.getElementById('nothing'))"
    assert "cannot draw in 3D" in browser.value(told_so)
    choose(browser, 4)
    assert browser.value(AT) == "4"
    assert browser.value("document.querySelectorAll('#measures tbody tr').length") == 6
