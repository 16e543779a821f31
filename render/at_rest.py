"""How the distance to a hand's surface is laid out before the first hand is measured: by the hand at rest.

Otherwise the first hand that it meets decides, and of two triangles as near as each other another run, or another
process, would find the other one.
"""

from jaxtyping import Int
from torch import Tensor

from render.hand_layer import HandLayer, HandParams
from render.surface_clusters import Clusters


def settle_surface(layer: HandLayer) -> None:
    """Lay out the surface of a layer, and those of its parts."""
    at_rest = HandParams.from_vector(layer.template.new_zeros(1, 62))
    vertices = layer(at_rest.rotation, at_rest.pose, at_rest.shape).vertices_m
    Clusters.of(vertices, layer.faces, ())
    Clusters.of(vertices, layer.faces, tuple(layer.part_faces))


def settle_faces(layer: HandLayer, faces: Int[Tensor, "f 3"]) -> None:
    """The same for triangles of one's own over the layer's vertices."""
    at_rest = HandParams.from_vector(layer.template.new_zeros(1, 62))
    Clusters.of(layer(at_rest.rotation, at_rest.pose, at_rest.shape).vertices_m.to(faces.device), faces, ())
