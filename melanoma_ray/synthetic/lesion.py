"""Draws the skin and the lesion of one diagnosis, as seen through a dermatoscope, from a seed alone.

The rule: a painter adds substances (melanin, blood, keratin), never colours. Colours follow from how these absorb
light (Tsumura 2003, doi:10.1145/882262.882344), so that any mixture looks like skin. docs/synthetic.md has the signs of
each diagnosis and their sources.

How to read a painter: each line adds an amount of one substance, ``strength × map``. ``rng.uniform(low, high)`` is the
strength of a sign that all lesions of the diagnosis have, ``_sign(rng, probability, low, high)`` that of one that only
some have. The numbers were set by eye next to real images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from melanoma_ray.errors import ConfigError
from melanoma_ray.synthetic.structures import (
    Map,
    Outline,
    Tissue,
    draw_blobs,
    draw_mesh,
    draw_noise,
    draw_patches,
    draw_rays,
    draw_ridges,
    draw_vessel_coils,
    draw_vessel_trees,
    lay_out,
    ramp,
)

_SKIN = np.array((0.97, 0.88, 0.84), np.float32)
"""RGB reflectance of skin without melanin and blood, set by eye next to real images."""
_MELANIN = np.array((0.52, 1.0, 1.6), np.float32)
_BLOOD = np.array((0.26, 1.0, 0.82), np.float32)
"""Optical density of one unit of melanin, which is brown, and of blood, which is red, in R, G and B."""
_SLATE = np.array((0.36, 0.38, 0.46), np.float32)
"""RGB colour of melanin deep in the dermis: blue-grey, because short waves are scattered back before they reach it."""
_KERATIN = np.array((0.95, 0.89, 0.84), np.float32)
"""RGB colour of keratin."""


def _sign(rng: np.random.Generator, probability: float, low: float, high: float) -> float:
    """Return the strength of a sign that a lesion has with some probability; 0 if it doesn't have it."""
    strength = float(rng.uniform(low, high))
    return strength if rng.random() < probability else 0.0


def _add(amount: Map, strength: float, where: Map) -> None:
    amount += np.float32(strength) * where


def _cover(tissue: Tissue, strength: float, where: Map) -> None:
    np.maximum(tissue.keratin, np.float32(strength) * where, out=tissue.keratin)


def _add_network(tissue: Tissue, strength: float, pitch: float, disorder: float, where: Map) -> None:
    """Add a pigment network: brown lines around paler holes.

    Args:
        tissue: Skin to add it to.
        strength: Melanin of the lines.
        pitch: Distance of neighbouring holes, percent of the canvas.
        disorder: How irregular the holes, and how broken and thick the lines are, in [0, 1].
        where: Map of the places that have a network.
    """
    mesh = draw_mesh(tissue.rng, tissue.side, pitch, 0.25 + 0.22 * disorder, 0.26 + 0.25 * disorder)
    visible = where * (1 - (0.4 + 0.6 * disorder) * ramp(draw_noise(tissue.rng, tissue.side, 6), 0.45, 0.65))
    tissue.melanin[:] *= 1 - np.float32(0.4 * strength) * visible * (1 - mesh)  # paler holes
    _add(tissue.melanin, strength, mesh * visible)  # darker lines


def _add_ulcer(tissue: Tissue, strength: float) -> None:
    """Add an erosion: red, with an orange-brown crust."""
    where = draw_patches(tissue, 6, 0.25) * ramp(1 - tissue.rho, 0.1, 0.5)
    crust = ramp(draw_noise(tissue.rng, tissue.side, 24), 0.42, 0.58)
    _add(tissue.blood, strength, where * (1.2 - 0.5 * crust))
    _add(tissue.melanin, strength, where * crust)


def _add_scale(tissue: Tissue, strength: float) -> None:
    """Add white flakes on the surface."""
    flakes = ramp(draw_noise(tissue.rng, tissue.side, 22, 4), 0.52, 0.72)
    _cover(tissue, strength, flakes * draw_patches(tissue, 7, 0.5, 0.2))


def _paint_nevus(tissue: Tissue) -> None:
    """Symmetric: one or two browns and a regular network that fades at the border; or globules."""
    rng, side = tissue.rng, tissue.side
    rim = tissue.inside * (1 - np.float32(rng.uniform(0.2, 0.7)) * ramp(tissue.rho, 0.4, 1.0))
    _add(tissue.melanin, rng.uniform(0.3, 1.2), rim * (0.5 + draw_noise(rng, side, 7, 4)))
    centre = 1 - ramp(tissue.rho + draw_noise(rng, side, 9) - 0.5, 0.1, rng.uniform(0.4, 0.9))
    _add(tissue.melanin, rng.uniform(-0.2, 0.9), rim * centre)
    _add_network(tissue, _sign(rng, 0.85, 0.25, 0.8), rng.uniform(1.4, 2.1), _sign(rng, 0.35, 0.2, 0.7), rim)
    globules = draw_blobs(tissue, rim, 90, (0.35, 0.75))
    _add(tissue.melanin, _sign(rng, 0.35, 0.3, 0.9), globules * tissue.inside)
    _add(tissue.melanin, _sign(rng, 0.25, 0.3, 0.8), draw_patches(tissue, 7, 0.35))
    _add(tissue.blood, _sign(rng, 0.4, 0.1, 0.35), tissue.inside)
    _add(tissue.dermal, _sign(rng, 0.15, 0.3, 0.9), draw_patches(tissue, 4, 0.35, 0.25))


def _paint_melanoma(tissue: Tissue) -> None:
    """Many colours in disorder: blots, broken network, veil, dots on one side, streaks, regression."""
    rng, side = tissue.rng, tissue.side
    heading = np.float32(rng.uniform(-math.pi, math.pi))
    lopsided = ramp(tissue.rho * np.cos(tissue.angle - heading), -0.7, 0.7)  # 0 on one side to 1 on the other
    _add(tissue.melanin, rng.uniform(0.5, 1.3), tissue.inside * (0.25 + 1.4 * draw_noise(rng, side, 5, 5) * lopsided))
    _add(tissue.melanin, _sign(rng, 0.8, 0.6, 2.0), draw_patches(tissue, 5, 0.4, 0.15))
    _add_network(tissue, _sign(rng, 0.75, 0.3, 1.0), rng.uniform(1.6, 2.8), rng.uniform(0.4, 1.0), tissue.inside)
    _add(tissue.melanin, _sign(rng, 0.7, 0.7, 1.8), draw_blobs(tissue, tissue.inside * lopsided**2, 60, (0.2, 0.9)))
    _add(tissue.melanin, _sign(rng, 0.45, 0.6, 1.5), draw_rays(tissue) * lopsided)
    _add(tissue.blood, _sign(rng, 0.5, 0.3, 0.8), draw_patches(tissue, 4, 0.4, 0.2))
    # Blue-white veil: melanin in the dermis under a white cover.
    veil = draw_patches(tissue, 4, rng.uniform(0.25, 0.5), 0.2) * (0.4 + draw_noise(rng, side, 14, 4))
    strength = _sign(rng, 0.6, 0.5, 1.0)
    _add(tissue.dermal, 1.3 * strength, veil)
    _cover(tissue, 0.16 * strength, veil)
    # Regression: pale scar-like areas with grey dots.
    regression = draw_patches(tissue, 5, 0.25) * np.float32(_sign(rng, 0.4, 0.5, 0.9))
    tissue.melanin[:] *= 1 - 0.85 * regression
    _cover(tissue, 0.3, regression)
    _add(tissue.dermal, 0.9, draw_blobs(tissue, regression, 80, (0.12, 0.3)))


def _paint_basal_cell_carcinoma(tissue: Tissue) -> None:
    """Little brown: arborizing vessels, blue-grey ovoid nests, erosion, on shiny pink."""
    rng, side = tissue.rng, tissue.side
    _add(tissue.melanin, rng.uniform(0.0, 0.45), tissue.inside * draw_noise(rng, side, 6, 4))
    _add(tissue.blood, rng.uniform(0.05, 0.4), tissue.inside * (0.4 + draw_noise(rng, side, 6, 4)))
    _cover(tissue, _sign(rng, 0.6, 0.1, 0.4), draw_patches(tissue, 6, 0.4, 0.2))
    # Blue-grey ovoid nests: melanin both in the dermis and above it.
    nests = draw_blobs(tissue, tissue.inside, int(rng.integers(3, 14)), (1.0, 4.0), 0.8)
    nests *= 0.4 + 1.2 * draw_noise(rng, side, 16, 3)
    strength = _sign(rng, 0.75, 0.5, 1.5)
    _add(tissue.dermal, strength, nests)
    _add(tissue.melanin, 0.8 * strength, nests)
    _add(tissue.melanin, _sign(rng, 0.4, 0.3, 0.8), draw_patches(tissue, 12, 0.3) * ramp(tissue.rho, 0.5, 0.9))
    _add_ulcer(tissue, _sign(rng, 0.45, 0.5, 1.2))
    _add(tissue.blood, _sign(rng, 0.85, 0.4, 1.0), draw_vessel_trees(tissue, int(rng.integers(3, 9))))


def _paint_seborrheic_keratosis(tissue: Tissue) -> None:
    """Sharp border, as if stuck on; dull brown to black, milia-like cysts, comedo-like openings, fissures."""
    rng, side = tissue.rng, tissue.side
    _add(tissue.melanin, rng.uniform(0.25, 1.4), tissue.inside * (0.3 + 1.4 * draw_noise(rng, side, 10, 5)))
    _add(tissue.melanin, _sign(rng, 0.45, 0.3, 1.3), draw_patches(tissue, 5, 0.35, 0.15))
    _add(tissue.dermal, _sign(rng, 0.3, 0.2, 0.7), draw_patches(tissue, 4, 0.4, 0.2))
    _cover(tissue, rng.uniform(0.05, 0.3), tissue.inside * ramp(draw_noise(rng, side, 24, 4), 0.4, 0.8))
    fissures = draw_mesh(rng, side, rng.uniform(3.5, 7), 0.48, 0.5) * ramp(draw_noise(rng, side, 8), 0.4, 0.6)
    _add(tissue.melanin, _sign(rng, 0.4, 0.3, 0.9), fissures * tissue.inside)
    # Comedo-like openings are dark, milia-like cysts white.
    _add(tissue.melanin, _sign(rng, 0.7, 0.6, 1.6), draw_blobs(tissue, tissue.inside, 26, (0.4, 1.2), 0.35))
    _cover(tissue, _sign(rng, 0.75, 0.35, 0.8), draw_blobs(tissue, tissue.inside, 22, (0.3, 0.8), 0.3))
    _add(tissue.blood, _sign(rng, 0.3, 0.15, 0.4), tissue.inside)


def _paint_vascular_lesion(tissue: Tissue) -> None:
    """Red to purple lacunae with pale septa; sometimes a black clot."""
    rng, side = tissue.rng, tissue.side
    lacunae = draw_blobs(tissue, tissue.inside, int(rng.integers(14, 60)), (1.5, 4.0), 0.6) * tissue.inside
    _add(tissue.blood, rng.uniform(0.2, 1.2), tissue.inside * (0.5 + draw_noise(rng, side, 8, 4)))
    _add(tissue.blood, rng.uniform(0.3, 1.6), lacunae * (0.5 + draw_noise(rng, side, 9, 4)))
    _add(tissue.dermal, _sign(rng, 0.5, 0.3, 1.2), lacunae * draw_noise(rng, side, 5))
    septa = draw_mesh(rng, side, rng.uniform(4, 8), 0.48, 0.5) * ramp(draw_noise(rng, side, 8), 0.3, 0.6)
    _cover(tissue, _sign(rng, 0.4, 0.1, 0.4), septa * tissue.inside)
    _add(tissue.melanin, _sign(rng, 0.25, 0.8, 2.0), draw_patches(tissue, 5, 0.35))


def _paint_dermatofibroma(tissue: Tissue) -> None:
    """A white scar-like centre in a faint, fine network."""
    rng, side = tissue.rng, tissue.side
    ring = tissue.inside * ramp(tissue.rho, 0.0, 0.7)
    _add(tissue.melanin, rng.uniform(0.15, 0.7), ring * (0.2 + 1.3 * draw_noise(rng, side, 7, 4)))
    _add(tissue.blood, rng.uniform(0.05, 0.5), tissue.inside * (0.3 + draw_noise(rng, side, 6, 4)))
    _add_network(tissue, _sign(rng, 0.85, 0.15, 0.4), rng.uniform(1.3, 1.8), 0.2, ring)
    scar = 1 - ramp(tissue.rho + draw_noise(rng, side, 8, 4), 0.55, rng.uniform(0.85, 1.3))
    _cover(tissue, _sign(rng, 0.85, 0.2, 0.6), scar * (0.3 + draw_noise(rng, side, 24)))


def _paint_actinic_keratosis(tissue: Tissue) -> None:
    """Strawberry pattern: red between pale follicles, each with a yellow plug; scale on top."""
    rng, side = tissue.rng, tissue.side
    follicles = draw_blobs(tissue, tissue.inside, int(rng.integers(40, 130)), (0.7, 1.5), 0.35)
    plugs = ramp(follicles, 0.6, 1.0)
    red = tissue.inside * (0.3 + 1.2 * draw_noise(rng, side, 9, 4))
    strawberry = np.float32(rng.uniform(0.1, 0.9))
    _add(tissue.blood, rng.uniform(0.15, 0.6), red * (1 - strawberry * follicles))
    _cover(tissue, 0.3, strawberry * plugs)
    grey_brown = (1 - follicles) * draw_patches(tissue, 8, 0.5, 0.2)
    _add(tissue.melanin, _sign(rng, 0.5, 0.2, 0.9), grey_brown)
    _add_scale(tissue, _sign(rng, 0.65, 0.2, 0.6))


def _paint_squamous_cell_carcinoma(tissue: Tissue) -> None:
    """White structureless keratin in pink, coiled vessels in groups, blood and crust."""
    rng, side = tissue.rng, tissue.side
    _add(tissue.blood, rng.uniform(0.15, 0.6), tissue.inside * (0.3 + 1.2 * draw_noise(rng, side, 7, 4)))
    _add(tissue.melanin, _sign(rng, 0.45, 0.2, 0.7), draw_patches(tissue, 9, 0.4, 0.15))
    coils = draw_vessel_coils(tissue, draw_patches(tissue, 6, 0.45), 60)
    _add(tissue.blood, _sign(rng, 0.8, 0.5, 1.1), coils)
    mass = draw_patches(tissue, 6, 0.4) * (1 - ramp(tissue.rho, 0.4, 0.95))
    _cover(tissue, _sign(rng, 0.8, 0.35, 0.8), mass * (0.3 + 1.1 * draw_noise(rng, side, 16, 4)))
    _add_ulcer(tissue, _sign(rng, 0.4, 0.4, 1.1))
    _add_scale(tissue, _sign(rng, 0.5, 0.2, 0.5))


def _paint_pigmented_benign_keratosis(tissue: Tissue) -> None:
    """Flat light brown with fingerprint-like ridges; sometimes grey granules or a few cysts."""
    rng, side = tissue.rng, tissue.side
    _add(tissue.melanin, rng.uniform(0.2, 0.75), tissue.inside * (0.3 + 1.2 * draw_noise(rng, side, 10, 4)))
    ridges = draw_ridges(tissue, rng.uniform(8, 14)) * ramp(draw_noise(rng, side, 6), 0.35, 0.6)
    _add(tissue.melanin, _sign(rng, 0.8, 0.15, 0.5), ridges * tissue.inside)
    granules = draw_blobs(tissue, draw_patches(tissue, 6, 0.4), 90, (0.15, 0.4))
    _add(tissue.dermal, _sign(rng, 0.3, 0.3, 0.8), granules)
    _cover(tissue, _sign(rng, 0.25, 0.3, 0.6), draw_blobs(tissue, tissue.inside, 10, (0.3, 0.7)))
    _add(tissue.blood, _sign(rng, 0.4, 0.1, 0.35), tissue.inside)


_DIFFUSE = Outline(radius=(0.3, 0.65), lobes=(0.04, 0.12), ragged=(0.5, 1.2), softness=(0.5, 1.0))
_PAINTERS: dict[str, tuple[Callable[[Tissue], None], Outline]] = {
    "actinic keratosis": (_paint_actinic_keratosis, _DIFFUSE),
    "basal cell carcinoma": (_paint_basal_cell_carcinoma, Outline(lobes=(0.04, 0.12), softness=(0.25, 0.6))),
    "dermatofibroma": (_paint_dermatofibroma, Outline(radius=(0.2, 0.42), softness=(0.4, 0.9))),
    "melanoma": (_paint_melanoma, Outline(radius=(0.28, 0.6), lobes=(0.05, 0.15), ragged=(0.3, 0.8))),
    "nevus": (_paint_nevus, Outline(radius=(0.2, 0.48), ragged=(0.15, 0.5), softness=(0.15, 0.6))),
    "pigmented benign keratosis": (
        _paint_pigmented_benign_keratosis,
        Outline(lobes=(0.05, 0.12), ragged=(0.6, 1.2), softness=(0.08, 0.25)),
    ),
    "seborrheic keratosis": (_paint_seborrheic_keratosis, Outline(lobes=(0.03, 0.1), softness=(0.05, 0.18))),
    "squamous cell carcinoma": (_paint_squamous_cell_carcinoma, _DIFFUSE),
    "vascular lesion": (_paint_vascular_lesion, Outline(radius=(0.14, 0.4), softness=(0.1, 0.5))),
}


def draw_canvas(*, diagnosis: str, seed: int, side: int) -> Float32[np.ndarray, "side side 3"]:
    """Return a square of skin with a lesion in its middle, RGB reflectance in [0, 1].

    The skin and the small distortions have random streams of their own, so that they can't reveal the diagnosis.

    Args:
        diagnosis: Diagnosis to draw, one of ``DIAGNOSES``.
        seed: Seed of the lesion and its skin, 0 or more.
        side: Width and height, pixels, to which the lesion is scaled.

    Raises:
        ConfigError: The diagnosis is unknown.
    """
    if diagnosis not in _PAINTERS:
        msg = f"diagnosis={diagnosis!r}: expected one of {', '.join(_PAINTERS)}"
        raise ConfigError(msg)
    paint, outline = _PAINTERS[diagnosis]
    tissue = lay_out(np.random.default_rng((seed, 1)), side, outline)
    _grow_skin(np.random.default_rng((seed, 0)), tissue)
    paint(tissue)
    return _light(_distort(np.random.default_rng((seed, 2)), tissue))


def _grow_skin(rng: np.random.Generator, tissue: Tissue) -> None:
    """Add the melanin and blood of the skin itself: tone, mottling, sun freckles and fine furrows."""
    side, tone = tissue.side, 0.02 + 0.7 * rng.beta(1.0, 5.0)
    _add(tissue.melanin, tone, 0.7 + 0.6 * draw_noise(rng, side, 6, 5))
    _add(tissue.melanin, _sign(rng, 0.35, 0.05, 0.25), ramp(draw_noise(rng, side, 10, 4), 0.5, 0.85))
    furrows = draw_mesh(rng, side, rng.uniform(2.5, 4.5), 0.48, 0.25)
    _add(tissue.melanin, rng.uniform(0.0, 0.08), furrows * draw_noise(rng, side, 8))
    _add(tissue.blood, rng.uniform(0.05, 0.35), 0.3 + draw_noise(rng, side, 10, 4))
    _add(tissue.blood, _sign(rng, 0.3, 0.05, 0.2), ramp(draw_noise(rng, side, 6, 5), 0.35, 0.85))


def _distort(rng: np.random.Generator, tissue: Tissue) -> Float32[np.ndarray, "side side 4"]:
    """Return the four substances with each point moved a little, because nothing in skin is a circle or a line."""
    side = tissue.side
    columns, rows = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    reach = 0.045 * side
    columns += reach * (draw_noise(rng, side, 16, 3) - 0.5)
    rows += reach * (draw_noise(rng, side, 16, 3) - 0.5)
    layers = cv2.merge((tissue.melanin, tissue.blood, tissue.dermal, tissue.keratin))
    grain = 1 + 0.4 * (draw_noise(rng, side, side // 6, 2) - 0.5)
    warped: Float32[np.ndarray, "side side 4"] = cv2.remap(
        layers, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    warped *= grain[..., None]
    return warped


def _light(layers: Float32[np.ndarray, "side side 4"]) -> Float32[np.ndarray, "side side 3"]:
    """Return the colour under white light: absorption by the Beer-Lambert law, then what covers it."""
    colour = _SKIN * np.exp(-(layers[..., :1] * _MELANIN + layers[..., 1:2] * _BLOOD))
    colour += (1 - np.exp(-layers[..., 2:3])) * (_SLATE - colour)  # dermal melanin covers in part
    colour += np.clip(layers[..., 3:], 0, 1) * (_KERATIN - colour)  # keratin lies on top
    lit: Float32[np.ndarray, "side side 3"] = colour
    return lit
