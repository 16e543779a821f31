"""Hand meshes as files: binary PLY and OBJ in millimetres of the camera (x right, y down, z away), GLB as glTF has it.

glTF 2.0 has metres, y up and z towards the viewer, so a GLB file's hand stands as it is seen. Triangles run
counter-clockwise from outside in all of them, those of left hands too.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from util.files import write_whole

MeshFormat = Literal["ply", "obj", "glb"]

GLB_FRAME = np.array([1.0, -1.0, -1.0]) / 1000
"""Camera frame in mm -> glTF's."""
SKIN = (0.84, 0.68, 0.57, 1.0)
"""Base colour of a GLB file's hand."""
GL_FLOAT, GL_UNSIGNED_INT = 5126, 5125
GL_ARRAY_BUFFER, GL_ELEMENT_ARRAY_BUFFER = 34962, 34963


def write_mesh(
    path: Path, vertices_mm: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], side: str = "right"
) -> None:
    """Write a mesh, whole or not at all, in the format of the path's suffix.

    Args:
        path: .ply, .obj or .glb.
        vertices_mm: finite, camera frame.
        faces: triangles of a right hand.
        side: "left" turns the triangles round, since such vertices are a right hand's mirrored.

    Raises:
        ValueError: another suffix.
        UserError: the folder cannot be written to.
    """
    encode = {".ply": ply_bytes, ".obj": obj_bytes, ".glb": glb_bytes}.get(path.suffix)
    if encode is None:
        raise ValueError(f"{path} ends in none of .ply, .obj, .glb")
    write_whole(path, encode(vertices_mm, np.ascontiguousarray(faces[:, ::-1] if side == "left" else faces)))


def ply_bytes(vertices_mm: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> bytes:
    """Binary little-endian PLY."""
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment millimetres: x right, y down, z away from the camera\n"
        f"element vertex {len(vertices_mm)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    triangles = np.empty(len(faces), np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    triangles["n"], triangles["corners"] = 3, faces
    return header.encode("ascii") + vertices_mm.astype("<f4").tobytes() + triangles.tobytes()


def obj_bytes(vertices_mm: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> bytes:
    """Wavefront OBJ, whose corners count from 1."""
    lines = ["# millimetres: x right, y down, z away from the camera"]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices_mm.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


def glb_bytes(vertices_mm: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> bytes:
    """Binary glTF 2.0 with one mesh (the specification's chapter on the GLB file format)."""
    places = (vertices_mm * GLB_FRAME).astype("<f4")
    normals = _normals(places, faces).astype("<f4")
    corners = faces.astype("<u4").reshape(-1)
    parts = [places.tobytes(), normals.tobytes(), corners.tobytes()]  # each a multiple of four bytes, as it must be
    starts = [sum(map(len, parts[:k])) for k in range(len(parts))]
    targets = (GL_ARRAY_BUFFER, GL_ARRAY_BUFFER, GL_ELEMENT_ARRAY_BUFFER)
    vectors = {"componentType": GL_FLOAT, "count": len(places), "type": "VEC3"}
    corner_kind = {"componentType": GL_UNSIGNED_INT, "count": len(corners), "type": "SCALAR"}
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1}, "indices": 2, "material": 0}
    surface = {"baseColorFactor": SKIN, "metallicFactor": 0.0, "roughnessFactor": 0.8}
    content = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "hand"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": surface, "doubleSided": True}],
        "accessors": [
            {"bufferView": 0, **vectors, "min": places.min(0).tolist(), "max": places.max(0).tolist()},
            {"bufferView": 1, **vectors},
            {"bufferView": 2, **corner_kind},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(part), "target": target}
            for start, part, target in zip(starts, parts, targets, strict=True)
        ],
        "buffers": [{"byteLength": sum(map(len, parts))}],
    }
    text = json.dumps(content, separators=(",", ":")).encode("ascii")
    chunks = [(b"JSON", text + b" " * (-len(text) % 4)), (b"BIN\0", b"".join(parts))]
    return _container(chunks)


def _container(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(v, 3) unit normals, the mean of the triangles around by their area."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros((len(vertices), 3))
    for k in range(3):
        np.add.at(normals, faces[:, k], across)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), (0.0, 0.0, 1.0))
