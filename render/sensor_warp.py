"""Sensor noise as warp kernels, one source for CPU and CUDA: read, low-pass in two passes, noise, spread.

One thread a row of the sensor's grid: most of an image is empty, and a loop passes over that faster than a thread does.
"""

# Kernels are written in warp's own types, which a checker of Python types cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportArgumentType=false, reportIndexIssue=false, reportCallIssue=false
# A number that a loop changes has to be made by a call, and warp evaluates both sides of `and`.
# ruff: noqa: UP018, RUF046, SIM102

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from render import sensor_draws as draws
from render.kernels import as_warp, run
from render.sensor_draws import SensorDraws

CELL_V, CELL_U = wp.constant(draws.CELL_V), wp.constant(draws.CELL_U)
PHASE_V, PHASE_U = wp.constant(draws.PHASE_V), wp.constant(draws.PHASE_U)
ROWS, COLUMNS = wp.constant(draws.ROWS), wp.constant(draws.COLUMNS)
JITTER, SMOOTHING, FLYING = wp.constant(draws.JITTER), wp.constant(draws.SMOOTHING), wp.constant(draws.FLYING)
EROSION, SHADOW, GRAZING = wp.constant(draws.EROSION), wp.constant(draws.SHADOW), wp.constant(draws.GRAZING)
SPECKLE, HOLES, AXIAL = wp.constant(draws.SPECKLE), wp.constant(draws.HOLES), wp.constant(draws.AXIAL)
WOBBLE, STEP, LONE = wp.constant(draws.WOBBLE), wp.constant(draws.STEP), wp.constant(draws.LONE)
CELL_MM, JUMP_MM = wp.constant(draws.CELL_MM), wp.constant(draws.JUMP_MM)
NOTHING_MM, BLEND_MM = wp.constant(draws.NOTHING_MM), wp.constant(draws.BLEND_MM)
REACH_MM, SUPPORT_MM = wp.constant(draws.REACH_MM), wp.constant(draws.SUPPORT_MM)
SUPPORT = wp.constant(draws.SUPPORT)
STEEP, SLOPES = wp.constant(draws.STEEP), wp.constant(draws.GRAZING_SLOPE - draws.STEEP)
FIELD_CELL, BLOB_CELL = wp.constant(float(draws.FIELD_CELL)), wp.constant(float(draws.BLOB_CELL))
FOR_JITTER, FOR_LOSSES = wp.constant(draws.FOR_JITTER), wp.constant(draws.FOR_LOSSES)
FOR_FLYING, FOR_AXIAL = wp.constant(draws.FOR_FLYING), wp.constant(draws.FOR_AXIAL)

# Twin and kernels round alike only without fused multiply-adds; gradients are not taken through kernels.
wp.set_module_options({"fuse_fp": False, "enable_backward": False})


def noisy(depth_mm: Float[Tensor, "b h w"], drawn: SensorDraws) -> Float[Tensor, "b h w"]:
    """Noisy copies of float32 depth images, with what was drawn for them."""
    depth_mm = depth_mm.contiguous()
    b, h, w = depth_mm.shape
    grid = (b, h + 1, w + 1)  # a grid of cells that are hardly larger than samples begins before the first sample
    read, smooth = depth_mm.new_empty(grid), depth_mm.new_empty(grid)
    low, result = depth_mm.new_empty(*grid, 2), torch.empty_like(depth_mm)

    def work(items: slice) -> None:
        images, z, low_pass, smoothed, out = (
            as_warp(tensor[items], dtype)
            for tensor, dtype in (
                (depth_mm, wp.float32), (read, wp.float32), (low, wp.vec2), (smooth, wp.float32), (result, wp.float32)
            )
        )  # fmt: skip
        of = as_warp(drawn.of_image[items], wp.float32)
        keys = as_warp(drawn.keys[items], wp.int32)
        fields, blobs = as_warp(drawn.fields[items], wp.float32), as_warp(drawn.blobs[items], wp.float32)
        for kernel, rows, arrays in (
            (_read, h + 1, [images, of, keys, z]),
            (_low_pass_rows, h + 1, [z, of, low_pass]),
            (_smooth, h + 1, [z, low_pass, of, smoothed]),
            (_disturb, h + 1, [smoothed, of, keys, fields, blobs, z]),
            (_spread, h, [z, of, out]),
        ):
            wp.launch(kernel, dim=(items.stop - items.start, rows), inputs=arrays, device=images.device)

    run(work, b, like=depth_mm)
    return result


@wp.func
def _word(key: wp.int32, purpose: wp.int32, row: wp.int32, column: wp.int32) -> wp.uint32:
    """32 random bits of a cell for a purpose: a counter, scrambled."""
    state = wp.uint32(key) + wp.uint32((purpose << 20) + (row << 10) + column)
    state = state * wp.uint32(747796405) + wp.uint32(1013904223)
    state = ((state >> ((state >> wp.uint32(28)) + wp.uint32(4))) ^ state) * wp.uint32(277803737)
    return (state >> wp.uint32(22)) ^ state


@wp.func
def _pair(key: wp.int32, purpose: wp.int32, row: wp.int32, column: wp.int32) -> wp.vec2:
    """Two numbers in [0, 1), in 65,536 steps each."""
    word = _word(key, purpose, row, column)
    return wp.vec2(float(word & wp.uint32(65535)), float(word >> wp.uint32(16))) * (1.0 / 65536.0)


@wp.func
def _field(nodes: wp.array2d(dtype=wp.float32), cell: wp.float32, row: wp.int32, column: wp.int32) -> wp.float32:
    """Between nodes, bilinear."""
    y = (float(row) + 0.5) / cell
    x = (float(column) + 0.5) / cell
    i = int(y)
    j = int(x)
    down = y - float(i)
    along = x - float(j)
    above = nodes[i, j] + along * (nodes[i, j + 1] - nodes[i, j])
    below = nodes[i + 1, j] + along * (nodes[i + 1, j + 1] - nodes[i + 1, j])
    return above + down * (below - above)


@wp.kernel
def _read(
    images: wp.array3d(dtype=wp.float32),
    of_image: wp.array2d(dtype=wp.float32),
    keys: wp.array(dtype=wp.int32),
    z: wp.array3d(dtype=wp.float32),
):
    item, row = wp.tid()
    of = of_image[item]
    if row >= int(of[ROWS]):
        return
    image = images[item]
    line = z[item, row]
    cell = of[CELL_U]
    phase = of[PHASE_U]
    reach_v = of[JITTER] * of[CELL_V]
    reach_u = of[JITTER] * cell
    key = keys[item]
    last_row = images.shape[1] - 1
    last_column = images.shape[2] - 1
    middle = wp.max(wp.floor((float(row) + 0.5) * of[CELL_V] - of[PHASE_V]), 0.0)
    for column in range(int(of[COLUMNS])):
        moved = _pair(key, FOR_JITTER, row, column)
        v = wp.rint(middle + (moved[0] - 0.5) * reach_v)
        u = wp.max(wp.floor((float(column) + 0.5) * cell - phase), 0.0)
        u = wp.rint(u + (moved[1] - 0.5) * reach_u)
        line[column] = image[wp.clamp(int(v), 0, last_row), wp.clamp(int(u), 0, last_column)]


@wp.kernel
def _low_pass_rows(
    z: wp.array3d(dtype=wp.float32), of_image: wp.array2d(dtype=wp.float32), low: wp.array3d(dtype=wp.vec2)
):
    item, row = wp.tid()
    if row >= int(of_image[item, ROWS]) or of_image[item, SMOOTHING] <= 0.0:
        return
    line = z[item, row]
    out = low[item, row]
    columns = int(of_image[item, COLUMNS])
    last_seen = int(-9)
    for ahead in range(columns + 3):
        if ahead < columns:
            if line[ahead] > 0.0:
                last_seen = ahead
        column = ahead - 3
        if column >= 0:
            total = float(0.0)
            weight = float(0.0)
            if last_seen >= column - 3:
                for near in range(wp.max(column - 3, 0), wp.min(column + 4, columns)):
                    if line[near] > 0.0:
                        share = float(4 - wp.abs(near - column))
                        total += share * line[near]
                        weight += share
            out[column] = wp.vec2(total, weight)


@wp.kernel
def _smooth(
    z: wp.array3d(dtype=wp.float32),
    low: wp.array3d(dtype=wp.vec2),
    of_image: wp.array2d(dtype=wp.float32),
    out: wp.array3d(dtype=wp.float32),
):
    item, row = wp.tid()
    rows = int(of_image[item, ROWS])
    if row >= rows:
        return
    share = of_image[item, SMOOTHING]
    line = z[item, row]
    smoothed = out[item, row]
    first = wp.max(row - 3, 0)
    last = wp.min(row + 4, rows)
    for column in range(int(of_image[item, COLUMNS])):
        here = line[column]
        if here > 0.0 and share > 0.0:
            total = wp.vec2(0.0, 0.0)
            for near in range(first, last):
                total += float(4 - wp.abs(near - row)) * low[item, near, column]
            change = total[0] / total[1] - here
            part = change / BLEND_MM
            here += share * change / (1.0 + part * part)
        smoothed[column] = here


@wp.kernel
def _disturb(
    z: wp.array3d(dtype=wp.float32),
    of_image: wp.array2d(dtype=wp.float32),
    keys: wp.array(dtype=wp.int32),
    fields: wp.array4d(dtype=wp.float32),
    blobs: wp.array3d(dtype=wp.float32),
    out: wp.array3d(dtype=wp.float32),
):
    item, row = wp.tid()
    of = of_image[item]
    rows = int(of[ROWS])
    columns = int(of[COLUMNS])
    if row >= rows:
        return
    line = z[item, row]
    line_above = z[item, wp.max(row - 1, 0)]
    line_below = z[item, wp.min(row + 1, rows - 1)]
    result = out[item, row]
    here = float(0.0)
    right = line[0]
    for column in range(columns):
        left = here
        here = right
        if column == 0:
            left = here
        right = line[wp.min(column + 1, columns - 1)]
        above = line_above[column]
        below = line_below[column]
        read = float(0.0)
        if wp.max(wp.max(wp.max(above, below), wp.max(left, right)), here) > 0.0:
            own = _far(here)
            nearest = wp.min(wp.min(wp.min(_far(above), _far(below)), wp.min(_far(left), _far(right))), own)
            farthest = wp.max(wp.max(wp.max(_far(above), _far(below)), wp.max(_far(left), _far(right))), own)
            surface = here
            edge = farthest - here > of[JUMP_MM]
            if here <= 0.0:
                surface = nearest
                edge = True
            read = here
            if edge and of[FLYING] > 0.0:
                flies = _pair(keys[item], FOR_FLYING, row, column)
                if flies[0] < of[FLYING]:
                    read = surface + flies[1] * wp.min(farthest - surface, REACH_MM)
        if read > 0.0:
            loss = float(0.0)  # the likeliest of the losses; at edges they come in stretches
            if farthest - here > of[JUMP_MM]:
                loss = of[EROSION]
            if here - nearest > of[JUMP_MM]:
                loss = wp.max(loss, of[SHADOW])
            if loss > 0.0:
                loss = loss * (2.0 * _field(fields[item, 0], FIELD_CELL, row, column))
            slope = float(0.0)
            if row > 0 and row < rows - 1:
                step = wp.min(wp.abs(here - above), wp.abs(below - here))
                slope = step * step
            if column > 0 and column < columns - 1:
                step = wp.min(wp.abs(here - left), wp.abs(right - here))
                slope += step * step
            steep = (wp.sqrt(slope) / of[CELL_MM] - STEEP) / SLOPES
            loss = wp.max(loss, wp.clamp(steep, 0.0, 1.0) * of[GRAZING])
            survives = _pair(keys[item], FOR_LOSSES, row, column)
            lost = survives[0] < loss or survives[1] < of[SPECKLE]
            if lost or _field(blobs[item], BLOB_CELL, row, column) < of[HOLES]:
                read = 0.0
        if read > 0.0:
            if of[AXIAL] > 0.0:
                turn = _pair(keys[item], FOR_AXIAL, row, column)
                size = wp.sqrt(-2.0 * wp.log(turn[0] + 0.5 / 65536.0))
                read += of[AXIAL] * (size * wp.cos(6.2831853 * turn[1]))
            if of[WOBBLE] > 0.0:
                read += of[WOBBLE] * (_field(fields[item, 1], FIELD_CELL, row, column) - 0.5)
            if of[STEP] > 0.0:
                read = wp.rint(read / of[STEP]) * of[STEP]
            read = wp.max(read, 1.0)
        result[column] = read


@wp.func
def _far(depth: wp.float32) -> wp.float32:
    return wp.where(depth > 0.0, depth, NOTHING_MM)


@wp.kernel
def _spread(z: wp.array3d(dtype=wp.float32), of_image: wp.array2d(dtype=wp.float32), out: wp.array3d(dtype=wp.float32)):
    item, v = wp.tid()
    of = of_image[item]
    rows = int(of[ROWS])
    columns = int(of[COLUMNS])
    cell = of[CELL_U]
    phase = of[PHASE_U]
    alone = of[LONE] > 0.0
    row = wp.min(int((float(v) + 0.5 + of[PHASE_V]) / of[CELL_V]), rows - 1)
    line = z[item, row]
    result = out[item, v]
    column = int(-1)
    end = float(0.0)
    read = float(0.0)
    for u in range(out.shape[2]):
        if float(u) + 0.5 + phase >= end and column < columns - 1:  # a cell is a sample wide at least
            column = wp.min(int((float(u) + 0.5 + phase) / cell), columns - 1)
            end = float(column + 1) * cell
            read = line[column]
            if alone and read > 0.0:
                support = int(-1)  # it supports itself
                for i in range(wp.max(row - 1, 0), wp.min(row + 2, rows)):
                    for j in range(wp.max(column - 1, 0), wp.min(column + 2, columns)):
                        if wp.abs(z[item, i, j] - read) <= SUPPORT_MM:
                            support += 1
                if support < SUPPORT:
                    read = 0.0
        result[u] = read
