"""The 7- and the 15-point rule on panels: what every integral of this folder is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Kronrod's extension of the 7-point Gauss rule (Piessens et al., QUADPACK, 1983), on [-1, 1].
_KRONROD_NODES = np.array(
    [
        0.991455371120812639206854697526329,
        0.949107912342758524526189684047851,
        0.864864423359769072789712788640926,
        0.741531185599394439863864773280788,
        0.586087235467691130294144691693013,
        0.405845151377397166906606412076961,
        0.207784955007898467600689403773245,
        0.0,
    ]
)
_KRONROD_WEIGHTS = np.array(
    [
        0.022935322010529224963732008058970,
        0.063092092629978553290700663189204,
        0.104790010322250183839876322541518,
        0.140653259715525918745189590510238,
        0.169004726639267902826583426598550,
        0.190350578064785409913256402421014,
        0.204432940075298892414161999234649,
        0.209482141084727828012999174891714,
    ]
)
_GAUSS_WEIGHTS = np.array(
    [0.0, 0.129484966168869693270611432679082, 0.0, 0.279705391489276667901467771423780,
     0.0, 0.381830050505118944950369775488975, 0.0, 0.417959183673469387755102040816327]
)  # fmt: skip
NODES = np.concatenate([-_KRONROD_NODES[:-1], _KRONROD_NODES[::-1]])
KRONROD = np.concatenate([_KRONROD_WEIGHTS[:-1], _KRONROD_WEIGHTS[::-1]])
GAUSS = np.concatenate([_GAUSS_WEIGHTS[:-1], _GAUSS_WEIGHTS[::-1]])

# In deviations on either side of a mean: edges of panels on a Gaussian's line, none of which φ
# changes much in. Beyond 9 lies 10⁻¹⁹ of the mass, and beyond 38 φ underflows in double precision.
REACHES = np.array([0.5, 1.1, 1.75, 2.5, 3.25, 4.25, 5.5, 7.0, 9.0, 12.0, 16.0, 24.0, 38.0])


def symmetric(reaches: Array) -> Array:
    """Edges on both sides of 0."""
    return np.concatenate([-reaches[::-1], [0.0], reaches])


def panels(edges: Array) -> tuple[Array, Array]:
    """The 15 points in each panel, (panels, 15), and half its width, (panels, 1)."""
    half = np.diff(edges)[:, None] / 2
    return edges[:-1, None] + half * (1 + NODES), half
