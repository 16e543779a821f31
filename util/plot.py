"""Curves as pictures, with nothing but OpenCV."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from util.draw import INK, PAGE, Picture, draw_text

CURVE_COLOURS = ((200, 60, 50), (50, 110, 200), (60, 150, 70), (220, 150, 30), (130, 80, 180), (90, 90, 90))

RULE = (222, 222, 222)
LEFT, TOP, RIGHT, BOTTOM = 56, 30, 20, 46
TICKS = 5


def success_curve_picture(
    limits_mm: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    title: str = "share of frames whose worst joint is within t mm",
    size: tuple[int, int] = (640, 420),
) -> Picture:
    """Success curves, one a name, in one plot.

    Args:
        limits_mm: the limits t, rising.
        curves: for each name the shares in 0..1 at the limits (`util.metrics.JointErrors.success_curve`).
        title: written above.
        size: width and height of the picture.

    Raises:
        ValueError: fewer than two limits, or a curve of another length.
    """
    if len(limits_mm) < 2 or any(len(shares) != len(limits_mm) for shares in curves.values()):
        raise ValueError("every curve takes one share a limit, and at least two limits")
    width, height = size
    picture = np.full((height, width, 3), PAGE, np.uint8)
    first, last = limits_mm[0], limits_mm[-1]

    def place(limit: float, share: float) -> tuple[int, int]:
        x = LEFT + (limit - first) / (last - first) * (width - LEFT - RIGHT)
        return round(x), round(TOP + (1 - share) * (height - TOP - BOTTOM))

    for tick in range(TICKS + 1):
        share, limit = tick / TICKS, first + (last - first) * tick / TICKS
        cv2.line(picture, place(first, share), place(last, share), RULE, 1)
        cv2.line(picture, place(limit, 0), place(limit, 1), RULE, 1)
        draw_text(picture, f"{100 * share:3.0f} %", (6, place(first, share)[1] + 5), 0.4)
        draw_text(picture, f"{limit:g}", (place(limit, 0)[0] - 8, height - BOTTOM + 18), 0.4)
    cv2.rectangle(picture, place(first, 1), place(last, 0), INK, 1)
    draw_text(picture, title, (LEFT, 19))
    draw_text(picture, "t, mm", (width - RIGHT - 40, height - 8), 0.4)
    for number, (name, shares) in enumerate(curves.items()):
        colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
        points = [place(limit, share) for limit, share in zip(limits_mm, shares, strict=True) if np.isfinite(share)]
        cv2.polylines(picture, [np.array(points, np.int32).reshape(-1, 1, 2)], False, colour, 2, cv2.LINE_AA)
        draw_text(picture, name, (LEFT + 12, TOP + 18 + 17 * number), 0.42, colour)
    return picture
