"""A sheet of fitted hands: the surface from the front and from the side, with the labels' skeleton over it."""

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.correspondence import Correspondence
from fitting.fit import Fit
from fitting.labels import Labels
from render.hand_layer import HandLayer
from render.rasterise import rasterise
from util.draw import Picture, draw_skeleton, draw_text, grid, picture_points, shaded_picture

FRAMES, COLUMNS = 24, 4
SIZE, ZOOM = 96, 2
HALF_MM = 110.0
"""Half the edge of the cube that is drawn, about the middle of the labels."""
AWAY_MM = 2000.0
"""How far off the eye is taken to be for what hides what; pictures are orthographic."""
VIEWS = (((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)))
"""Rows: right, down and forward of the camera's view, and of one from its left."""


def draw_sheet(fit: Fit, labels: Labels, correspondence: Correspondence, layer: HandLayer) -> Picture:
    """24 frames, evenly spread, as right hands, two views each: labels coloured by finger, fitted joints in black."""
    n = len(fit.within)
    rows = torch.linspace(0, n - 1, min(FRAMES, n)).long()
    hands = fit.params[rows.to(fit.within.device)]
    mesh = layer(hands.rotation, hands.pose, hands.shape)
    vertices_mm = mesh.placed(hands.scale, hands.translation, 1.0)[0].cpu()
    pictures: list[Picture] = []
    for k, row in enumerate(rows.tolist()):
        true_mm, fitted_mm = labels.joints_mm[row].float(), fit.points_mm[row].cpu()
        for view in VIEWS:
            turn, middle = torch.tensor(view), true_mm.mean(0)
            seen, true, fitted = (((p - middle) @ turn.T) / HALF_MM for p in (vertices_mm[k], true_mm, fitted_mm))
            picture = _surface(seen, layer.faces.cpu())
            picture = draw_skeleton(picture, true, correspondence.joints, ZOOM, thickness=2)
            _dots(picture, fitted)
            if view is VIEWS[0]:
                failed = "" if fit.converged[row] else " failed"
                draw_text(
                    picture, f"{row + 1}: {float(fit.mean_mm[row]):.1f} mm{failed}", (4, 14), 0.4, (255, 255, 255)
                )
            pictures.append(picture)
    return grid(pictures, 2 * COLUMNS)


def _surface(vertices: Float[Tensor, "v 3"], faces: Tensor) -> Picture:
    """A surface in [-1, 1]^3, shaded."""
    pixels = torch.cat([(vertices[:, :2] + 1) * (SIZE / 2), vertices[:, 2:] * HALF_MM + AWAY_MM], -1)
    depth = rasterise(pixels.float(), faces, SIZE)
    return shaded_picture(torch.where(depth > 0, (depth - AWAY_MM) / HALF_MM, 1.0).clamp(-1, 1), ZOOM)


def _dots(picture: Picture, points: Float[Tensor, "m 3"]) -> None:
    for x, y in np.round(picture_points(points[:, :2].double().numpy(), picture.shape[0], ZOOM)).astype(int).tolist():
        cv2.circle(picture, (x, y), 2, (0, 0, 0), -1, cv2.LINE_AA)
