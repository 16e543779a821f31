"""Marking finger tips in a window: 1 to 6 choose a joint, a click marks it, n and p turn the pages, s saves.

Another click on the same joint moves its mark, d takes it away, 0 says that nothing can be marked in the frame.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from bench.mark_views import HEAD, RULER, View, sheet
from util.marks import JOINTS, Marks

if TYPE_CHECKING:
    from matplotlib.backend_bases import KeyEvent, MouseEvent
    from matplotlib.figure import Figure


class Clicker:
    """Shows one frame at a time in a figure, and keeps what is marked."""

    def __init__(self, figure: "Figure", frames: list[str], view: Callable[[str], View], marks: Marks) -> None:
        """Begin with the first frame; `marks` are those made before."""
        self.figure, self.frames, self.view = figure, frames, view
        self.at, self.joint = 0, JOINTS[0]
        self.places: dict[str, dict[str, tuple[float, float]]] = {frame: {} for frame in marks.frames}
        for file, joint, (u, v) in zip(marks.files, marks.joints, marks.uv, strict=True):
            self.places[file][joint] = (float(u), float(v))
        self.saved: Callable[[Marks], None] = lambda marks: None
        figure.canvas.mpl_connect("key_press_event", self.press)
        figure.canvas.mpl_connect("button_press_event", self.click)
        self.show()

    @property
    def frame(self) -> str:
        """The frame that is shown."""
        return self.frames[self.at]

    def marks(self) -> Marks:
        """All marks so far, without depths."""
        rows = [(f, j, uv) for f, joints in self.places.items() for j, uv in joints.items()]
        uv = np.array([row[2] for row in rows], np.float64).reshape(-1, 2)
        empty = tuple(frame for frame, joints in self.places.items() if not joints)
        return Marks(tuple(r[0] for r in rows), tuple(r[1] for r in rows), uv, np.full(len(rows), np.nan), empty)

    def press(self, event: "KeyEvent") -> None:
        """What a key does."""
        key = event.key or ""
        if key in tuple("123456"):
            self.joint = JOINTS[int(key) - 1]
        elif key in ("n", "p"):
            self.at = min(max(self.at + (1 if key == "n" else -1), 0), len(self.frames) - 1)
        elif key == "d":
            self.places.get(self.frame, {}).pop(self.joint, None)
        elif key == "0":
            self.places[self.frame] = {}
        elif key == "s":
            self.saved(self.marks())
        else:
            return
        self.show()

    def click(self, event: "MouseEvent") -> None:
        """Mark the chosen joint where the picture is clicked, on either panel."""
        if event.xdata is None or event.ydata is None:
            return
        view = self.view(self.frame)
        height, width = view.depth_mm.shape
        u = (event.xdata % (width * view.zoom + 2 * RULER) - RULER) / view.zoom
        v = (event.ydata - HEAD - RULER) / view.zoom
        if 0 <= u < width and 0 <= v < height:
            self.places.setdefault(self.frame, {})[self.joint] = (u + view.corner[0], v + view.corner[1])
            self.show()

    def show(self) -> None:
        """Draw the frame with its marks."""
        self.figure.clear()
        axes = self.figure.add_axes((0, 0, 1, 0.95))
        axes.set_axis_off()
        picture = sheet(self.view(self.frame), self.marks())
        axes.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
        self.figure.suptitle(f"{self.at + 1} of {len(self.frames)}: {self.joint} (1-6, click, d, 0, n, p, s)")
        self.figure.canvas.draw_idle()
