"""Pictures of predictions: an overlay a frame, a contact sheet of them, a film."""

import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from dataloader.frame import DepthFrame
from predicting.output.drawing import HandView, even_choice, frame_picture, headed
from predicting.prediction import HandPrediction
from util.draw import PAPER, Picture, grid
from util.errors import UserError
from util.files import write_whole

FilmFormat = Literal["gif", "mp4"]

ZOOM = 3
"""Picture pixels a sample of a crop, in an overlay."""
SHEET_ZOOM = 2
SHEET_MOST = 60
"""Cells of a contact sheet."""
SHEET_COLUMNS = 4
SHEET_LETTERS = 24
"""Letters of a frame's name above its cell."""
SIDE = 128
"""Samples along a crop's side."""


def overlay_picture(frame: DepthFrame, prediction: HandPrediction, view: HandView | None) -> Picture:
    """The whole frame with the crop's outline, the crop with the skeleton, the crop with the shaded hand, side by side.

    Where there is no hand, the two crops are the colour of nothing.
    """
    whole = frame_picture(frame, prediction, ZOOM * SIDE)
    return headed(np.concatenate([whole, _crops(view, ZOOM)], axis=1), prediction)


def contact_sheet(
    frames: Sequence[DepthFrame], predictions: Sequence[HandPrediction], views: Sequence[HandView | None]
) -> Picture:
    """Skeleton and shaded hand of each frame, or of SHEET_MOST evenly spread; the whole frame where there is none."""
    cells = []
    for i in even_choice(len(predictions), SHEET_MOST):
        picture = _crops(views[i], SHEET_ZOOM)
        if views[i] is None:
            whole = frame_picture(frames[i], predictions[i], picture.shape[0])[:, : picture.shape[1]]
            picture[:, : whole.shape[1]] = whole
        cells.append(headed(picture, predictions[i], SHEET_LETTERS, 0.4))
    return grid(cells, min(SHEET_COLUMNS, len(cells)))


def write_film(path: Path, pictures: Iterable[Picture], frames_per_second: float) -> None:
    """Write a film of pictures, those of other sizes than the first cut or filled up to it.

    Args:
        path: .gif or .mp4 (MPEG-4 part 2, which players show and browsers mostly do not).
        pictures: at least one.
        frames_per_second: of the film; a GIF keeps hundredths of a second a picture.

    Raises:
        ValueError: no picture, or another suffix.
        UserError: it cannot be written.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"{path} ends in neither .gif nor .mp4")
    fitted = _of_one_size(pictures)
    first = next(fitted, None)
    if first is None:
        raise ValueError("a film takes at least one picture")
    if path.suffix == ".gif":
        images = [Image.fromarray(p).quantize(128, dither=Image.Dither.NONE) for p in (first, *fitted)]
        content = io.BytesIO()
        duration = max(20, 10 * round(100 / frames_per_second))  # browsers slow down what is faster than 20 ms
        images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
        write_whole(path, content.getvalue())
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        height, width, _ = first.shape
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, (width, height))
        if not writer.isOpened():
            raise UserError(f"{path} cannot be written, since this OpenCV has no MPEG-4 encoder: choose gif.")
        for picture in (first, *fitted):
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        writer.release()
        write_whole(path, file.read_bytes())


def _crops(view: HandView | None, zoom: int) -> Picture:
    if view is None:
        return np.full((zoom * SIDE, 2 * zoom * SIDE, 3), PAPER, np.uint8)
    return np.concatenate([view.skeleton(zoom), view.mesh(zoom)], axis=1)


def _of_one_size(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """All as large as the first, whose sides become even, as encoders ask."""
    size: tuple[int, int] | None = None
    for picture in pictures:
        size = size or (picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2)
        page = np.full((*size, 3), PAPER, np.uint8)
        part = picture[: size[0], : size[1]]
        page[: part.shape[0], : part.shape[1]] = part
        yield page
