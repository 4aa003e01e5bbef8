"""The structures that a dermatoscope shows (network, globules, vessels …), each drawn as a map in [0, 1].

The rule: sizes are percentages of the canvas's side, so that a lesion looks the same at any resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

Map = Float32[np.ndarray, "side side"]
Path = Float[np.ndarray, "point 2"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tissue:
    """A square of skin: the place of the lesion, and the four substances that absorb light, which painters change."""

    rng: np.random.Generator
    """Source of the lesion's random numbers."""
    side: int
    """Width and height, pixels."""
    rho: Map
    """Distance from the lesion's centre, in units in which its border is at 1."""
    angle: Map
    """Angle around the lesion's centre, radians."""
    inside: Map
    """Membership in the lesion, in [0, 1]."""
    melanin: Map
    """Melanin in the epidermis, as optical density for green light."""
    blood: Map
    """Blood, as optical density for green light."""
    dermal: Map
    """Melanin in the dermis; an amount of 1 hides 63 % of what is below it."""
    keratin: Map
    """White cover of keratin, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """Ranges, (lowest, highest), from which a lesion's outline is drawn."""

    radius: tuple[float, float] = (0.24, 0.48)
    """Radius as a share of half the canvas."""
    lobes: tuple[float, float] = (0.02, 0.08)
    """Amplitude of the outline's waves as a share of the radius."""
    ragged: tuple[float, float] = (0.15, 0.4)
    """Displacement of the border by fine noise as a share of the radius."""
    softness: tuple[float, float] = (0.12, 0.35)
    """Width of the transition to skin as a share of the radius."""


def ramp(values: Map, low: float, high: float) -> Map:
    """Return 0 where values are below ``low``, 1 where they are above ``high``, and a smooth step in between."""
    step = np.clip((values - low) / (high - low), 0, 1)
    smooth: Map = step * step * (3 - 2 * step)
    return smooth


def draw_noise(rng: np.random.Generator, side: int, cells: int, octaves: int = 3) -> Map:
    """Return smooth noise around 0.5, mostly in [0.2, 0.8], as a sum of random grids.

    Each grid is twice as fine as the one before and has 0.55 of its weight. The sum is enlarged step by step, and only
    the last step has the size of the canvas, since enlarging takes most of the time.

    Args:
        rng: Source of random numbers.
        side: Width and height of the map, pixels.
        cells: Number of cells of the coarsest grid across the map.
        octaves: Number of grids.
    """
    weights = 0.55 ** np.arange(octaves, dtype=np.float32)
    weights /= weights.sum()
    size = cells + 1
    total = weights[0] * rng.random((size, size), dtype=np.float32)
    for weight in weights[1:]:
        size *= 2
        total = cv2.resize(total, (size, size), interpolation=cv2.INTER_CUBIC)
        total += weight * rng.random((size, size), dtype=np.float32)
    noise: Map = cv2.resize(total, (side, side), interpolation=cv2.INTER_CUBIC)
    return noise


def lay_out(rng: np.random.Generator, side: int, outline: Outline) -> Tissue:
    """Return tissue without substances, with a lesion's outline: an ellipse with waves, and noise at its border."""
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    rows, columns = rows - rng.uniform(-0.08, 0.08), columns - rng.uniform(-0.08, 0.08)
    turn = rng.uniform(0, math.pi)
    x = columns * math.cos(turn) + rows * math.sin(turn)
    y = (rows * math.cos(turn) - columns * math.sin(turn)) * rng.uniform(1.0, 1.45)
    orders = np.arange(2, 9)
    heights = rng.uniform(*outline.lobes) * rng.normal(0, 1, 7) / np.sqrt(orders - 1)
    grid = np.linspace(-math.pi, math.pi, 361)
    wave = (np.cos(orders * grid[:, None] + rng.uniform(0, math.tau, 7)) * heights).sum(axis=1)
    angle = np.arctan2(y, x)
    radius = np.interp(angle, grid, (1 + np.clip(wave, -0.5, 0.5)) * rng.uniform(*outline.radius)).astype(np.float32)
    rho = np.hypot(x, y) / radius + (draw_noise(rng, side, 12, 4) - 0.5) * rng.uniform(*outline.ragged)
    softness = rng.uniform(*outline.softness) / 2
    empty = {name: np.zeros_like(rho) for name in ("melanin", "blood", "dermal", "keratin")}
    return Tissue(rng=rng, side=side, rho=rho, angle=angle, inside=1 - ramp(rho, 1 - softness, 1 + softness), **empty)


def draw_patches(tissue: Tissue, cells: int, share: float, edge: float = 0.1) -> Map:
    """Return irregular patches that cover about ``share`` of the lesion, about ``cells`` of them across the canvas."""
    level = 0.5 + 0.4 * (0.5 - share)
    patches: Map = ramp(draw_noise(tissue.rng, tissue.side, cells, 4), level - edge, level + edge) * tissue.inside
    return patches


def draw_blobs(tissue: Tissue, where: Map, count: int, radius: tuple[float, float], blur: float = 0.2) -> Map:
    """Return up to ``count`` ovals of different weights, denser where ``where`` is high."""
    drawn = np.zeros((tissue.side, tissue.side), np.uint8)
    rng, unit = tissue.rng, tissue.side / 100
    for x, y in _choose_places(tissue, where, count):
        width = rng.uniform(*radius) * unit
        axes = (round(width * 16), round(width * rng.uniform(0.6, 1.0) * 16))
        weight = rng.uniform(140, 255)
        cv2.ellipse(
            drawn, (round(x * 16), round(y * 16)), axes, rng.uniform(0, 180), 0, 360, weight, -1, cv2.LINE_AA, 4
        )
    return _soften(drawn, blur * unit)


def draw_mesh(rng: np.random.Generator, side: int, pitch: float, jitter: float, width: float) -> Map:
    """Return the lines of a honeycomb: the borders of Voronoi cells around the points of a hexagonal lattice.

    Each pixel is labelled with its nearest point; the lines are where labels change.

    Args:
        rng: Source of random numbers.
        side: Width and height of the map, pixels.
        pitch: Distance of neighbouring points, percent of the side.
        jitter: Largest displacement of a point, as a share of the pitch, in [0, 0.5].
        width: Width of the lines, percent of the side.
    """
    step = pitch * side / 100
    rows, columns = np.mgrid[: side / step * 1.16 + 1, : side / step + 1]
    points = np.stack((rows * step * 0.866, (columns + 0.5 * (rows % 2)) * step), axis=-1).reshape(-1, 2)
    points += rng.uniform(-jitter, jitter, points.shape) * step
    own_rows, own_columns = np.clip(points.astype(int), 0, side - 1).T
    empty = np.ones((side, side), np.uint8)
    empty[own_rows, own_columns] = 0
    _, nearest = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    lines = np.zeros((side, side), np.uint8)
    lines[:-1] |= nearest[:-1] != nearest[1:]
    lines[:, :-1] |= nearest[:, :-1] != nearest[:, 1:]
    thickness = max(1, round(width * side / 100))
    wide = cv2.dilate(lines * np.uint8(255), np.ones((thickness, thickness), np.uint8))
    return _soften(wide, 0.18 * side / 100)


def draw_curves(side: int, paths: list[Path], widths: list[float]) -> Map:
    """Return lines through points (x, y in pixels), each with its own width in percent of the side."""
    drawn = np.zeros((side, side), np.uint8)
    for width in sorted(set(widths)):
        lines = [np.rint(path * 16).astype(np.int32) for path, own in zip(paths, widths, strict=True) if own == width]
        thickness = max(1, round(width * side / 100))
        cv2.polylines(drawn, lines, isClosed=False, color=255, thickness=thickness, lineType=cv2.LINE_AA, shift=4)
    return _soften(drawn, 0.12 * side / 100)


def draw_vessel_trees(tissue: Tissue, count: int) -> Map:
    """Return arborizing vessels: trunks that start near the border, grow inwards, and fork into thinner branches."""
    rng, unit = tissue.rng, tissue.side / 100
    rim = ramp(tissue.rho, 0.5, 0.8) * (tissue.rho < 1.05)
    branches = []
    for x, y in _choose_places(tissue, rim, count):
        inward = math.atan2(tissue.side / 2 - y, tissue.side / 2 - x)
        branches.append((np.array((x, y)), inward + rng.normal(0, 0.7), 0.8))
    paths: list[Path] = []
    widths: list[float] = []
    while branches:
        start, heading, width = branches.pop()
        headings = heading + np.cumsum(rng.normal(0, 0.3, 8))
        steps = np.stack((np.cos(headings), np.sin(headings)), axis=1) * unit * rng.uniform(0.5, 1.1)
        path = start + np.vstack((np.zeros(2), np.cumsum(steps, axis=0)))
        paths.append(path)
        widths.append(width)
        if width > 0.3:
            turns = (rng.uniform(0.3, 0.9), -rng.uniform(0.3, 0.9))
            branches += [(path[-1], headings[-1] + turn, round(width * 0.65, 3)) for turn in turns]
            branches.append((path[4], headings[4] + float(rng.choice((-1, 1))), 0.28))
    trees: Map = draw_curves(tissue.side, paths, widths) * (1 - ramp(tissue.rho, 1.0, 1.3))
    return trees


def draw_vessel_coils(tissue: Tissue, where: Map, count: int) -> Map:
    """Return glomerular vessels: small coils."""
    rng, unit = tissue.rng, tissue.side / 100
    time = np.linspace(0.15, 1, 20)[:, None]
    paths: list[Path] = []
    for centre in _choose_places(tissue, where, count):
        phase = rng.uniform(0, 2 * np.pi) + time * rng.uniform(8, 12)
        oval = np.hstack((np.cos(phase), np.sin(phase))) * rng.uniform(0.75, 1.0, 2)
        paths.append(centre + oval * time * unit * rng.uniform(0.9, 1.7))
    return draw_curves(tissue.side, paths, [0.2] * len(paths))


def draw_rays(tissue: Tissue) -> Map:
    """Return radial streaks that cross the border."""
    waves = tissue.rng.random((1, 72), dtype=np.float32)
    index = ((tissue.angle / math.tau + 0.5) * 71).astype(np.float32)
    ray = cv2.remap(waves, index, np.zeros_like(index), cv2.INTER_LINEAR)
    rays: Map = ramp(ray, 0.5, 0.9) * ramp(tissue.rho, 0.6, 0.9) * (1 - ramp(tissue.rho, 1.0, 1.2))
    return rays


def draw_ridges(tissue: Tissue, count: float) -> Map:
    """Return ridges like those of a fingerprint: ``count`` of them across the lesion, parallel but bent."""
    across = tissue.rho * np.cos(tissue.angle - np.float32(tissue.rng.uniform(-math.pi, math.pi)))
    bend = draw_noise(tissue.rng, tissue.side, 4, 2) * np.float32(tissue.rng.uniform(0.25, 0.5))
    return ramp(np.sin((across / 2 + bend) * np.float32(count * math.tau)), -0.5, 1.0)


def _soften(drawn: UInt8[np.ndarray, "side side"], sigma: float) -> Map:
    blurred = cv2.GaussianBlur(drawn, (0, 0), sigma) if sigma > 0.3 else drawn
    return blurred.astype(np.float32) / 255


def _choose_places(tissue: Tissue, where: Map, count: int) -> Path:
    """Return up to ``count`` random points (x, y in pixels) with a density in proportion to ``where``, in [0, 1]."""
    points = tissue.rng.random((count * 10, 2)) * (tissue.side - 1)
    columns, rows = points.astype(int).T
    chosen: Path = points[tissue.rng.random(len(points)) < where[rows, columns]][:count]
    return chosen
