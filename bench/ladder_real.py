"""The ladder on real depth: the benchmark's rows on SHREC'17, and on Kinect frames that nobody trains on.

Nobody labelled these frames. Rows are told apart by measures that need no labels and by finger tips marked by eye
(tests/data/marks, util/marks.py).
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.ladder_rows import ONE_STAGE, ROWS, RUNS, Course, Row, Run
from bench.ladder_table import Column, Line, Sheet, last_stage, means
from config import EXPERIMENTS
from util.errors import UserError
from util.files import write_json, write_text
from util.marks import score_predictions

PLACE = "real"
"""Sub-folder of the ladder's runs."""
SAME = ("synthetic", "cyclegan", "consistent", "self", "parts", "to-model", "both-ways", "stage-2", "fitted")
"""Rows of the benchmark that are climbed on real depth too."""
KINECT = {"fx": 363.9, "fy": 363.9, "cx": 255.4, "cy": 206.3, "unit_mm": 1.0, "mirrored": True}
"""Camera of Kinect V2 frames in a folder that does not say: as its calibration has it, images stored mirrored."""
KINECT_BOXES = {"00000342.png": (395, 240, 512, 320)}
"""left top right bottom of the hand in a frame with a whole person, whose face is taken for a hand without it."""
FIXED = ("surface_mm", "coverage", "depth_mm", "iou", "tips_outside_mm")
"""Label-free measures of the model branch; the observed hand is fixed before any prediction."""
BOXED = tuple(f"{name}_predbox" for name in FIXED[:-1])
"""The same where the box of the predicted joints cuts the observed hand out."""


def _on_shrec(run: Run) -> Run:
    return replace(run, words=("--data.name", "shrec", *run.words), frames="shrec", place=PLACE)


SHIPPED_SELF = ("--optim.steps", str(EXPERIMENTS["ladder-self"].optim.steps))
"""As many steps as the rows before have."""
SHIPPED_FITTED = (
    *("--source", "fitted", "--fitted.frames", "2500", "--augment.discs", "3"),
    *("--optim.steps", "500", "--optim.learning-rate", "4e-4"),
)
"""Fewer: it starts closer to where it is going."""
REAL_ROWS: dict[str, Row] = {name: Row(ROWS[name].about, _on_shrec(ROWS[name].run)) for name in SAME} | {
    "shipped": Row(
        "shipped weights: simulated sensors",
        Run("shrec-train", ("--phase", "test"), shared=True, frames="shrec", place=PLACE),
    ),
    "shipped-self": Row(
        "shipped weights, + self-supervision", Run("shrec-train", SHIPPED_SELF, frames="shrec", place=PLACE)
    ),
    "shipped-fitted": Row(
        "shipped weights, + hands fitted to frames", Run("shrec-train", SHIPPED_FITTED, frames="shrec", place=PLACE)
    ),
}
"""Rows of the tables by name, in their order."""
_SHARED = {
    "pretrain": RUNS["pretrain"],
    "adapt-clean": RUNS["adapt-clean"],
    **{name: _on_shrec(RUNS[name]) for name in ("transfer-plain", "transfer-consistent")},
    **{name: replace(RUNS[name], place=PLACE) for name in ("adapt-plain", "adapt-consistent")},
}


def on_kinect(row: str) -> str:
    """Name of the run that tests a row's weights on Kinect frames."""
    return f"{row}-kinect"


def _kinect_run(row: str) -> Run:
    run, weights = REAL_ROWS[row].run, Course(REAL_ROWS, _SHARED).weights_of(row)
    stages = ONE_STAGE if ONE_STAGE[0] in run.words else ()
    return Run(
        "frames-train",
        ("--phase", "test", "--data.no-keep", "--pictured", "100", *stages),
        {} if weights is None else {"--load-model": weights},
        shared=run.shared,
        frames="kinect",
        place=PLACE,
    )


REAL = Course(REAL_ROWS, _SHARED | {on_kinect(row): _kinect_run(row) for row in REAL_ROWS})
"""The ladder on real depth."""


def _fits(frames: str) -> tuple[Column, ...]:
    titles = (
        *(
            ("surface, mm", ".2f"),
            ("covered", ".3f"),
            ("depth, mm", ".2f"),
            ("IoU", ".3f"),
            ("tips outside, mm", ".2f"),
        ),
        *(("box: surface, mm", ".2f"), ("box: covered", ".3f"), ("box: depth, mm", ".2f"), ("box: IoU", ".3f")),
        *(("ok", ".0%"), ("box: ok", ".0%")),
    )
    names = (*FIXED, *BOXED, "share_ok", "share_ok_predbox")
    return tuple((title, (frames, "model", name), form) for (title, form), name in zip(titles, names, strict=True))


def _tips(frames: str) -> tuple[Column, ...]:
    measures = (("px", "median_px", ".1f"), ("mm", "median_mm", ".1f"), ("within 10 mm", "within_10", ".0%"))
    return (
        ("tips", (frames, "pixel", "tips", "n"), "d"),
        *(
            (f"{branch}, {title}", (frames, branch, "tips", name), form)
            for branch in ("pixel", "model")
            for title, name, form in measures
        ),
    )


REAL_SHEET = Sheet(
    "ladder on real depth",
    REAL_ROWS,
    {
        "SHREC'17, held-out subjects: finger tips marked by eye.": _tips("shrec"),
        "SHREC'17, held-out subjects: model branch, without labels.": _fits("shrec"),
        "Kinect: finger tips marked by eye.": _tips("kinect"),
        "Kinect: model branch, without labels.": _fits("kinect"),
    },
)


def unlabelled_measures(places: Mapping[str, Path], marks: Path) -> Line:
    """Scores of the last stage of the runs in `places` (shrec, kinect) without labels, and its errors at marked tips.

    Raises:
        UserError: results have no scores, or marks or predictions cannot be read.
    """
    measured: Line = {}
    for frames, place in places.items():
        stage, scores = last_stage(place)
        model, pixel = scores[f"{stage}_model"], scores[f"{stage}_pixel"]
        tips = score_predictions(place / "predictions", marks / f"{frames}.csv")
        shares = {name: round(model[name], 4) for name in ("share_ok", "share_ok_predbox")}
        measured["stage"] = stage
        measured[frames] = {
            "frames": model["n_frames"],
            "pixel": means(pixel, ("tips_outside_mm",)) | {"tips": tips[f"after_{stage}_pixel"]},
            "model": means(model, (*FIXED, *BOXED)) | shares | {"tips": tips[f"after_{stage}_model"]},
        }
    return measured


def frames_folder(kinect: Path, place: Path) -> Path:
    """A folder of Kinect frames as the reader of `frames` takes it.

    Itself where it says what camera it is; else `place`, with copies of its images, camera.json and boxes.txt.

    Raises:
        UserError: it holds no image.
    """
    if (kinect / "camera.json").is_file():
        return kinect
    images = sorted(kinect.glob("*.png"))
    if not images:
        raise UserError(f"{kinect} holds no .png image: point --kinect at the folder of Kinect frames.")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for image in images:
        shutil.copyfile(image, place / image.name)
    write_json(place / "camera.json", KINECT)
    boxes = {image.name: KINECT_BOXES[image.name] for image in images if image.name in KINECT_BOXES}
    if boxes:
        write_text(place / "boxes.txt", "".join(f"{name} {' '.join(map(str, box))}\n" for name, box in boxes.items()))
    return place
