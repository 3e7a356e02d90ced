"""The phase of a network: what its layers do to two inputs that are nearly alike.

Between two weighted layers the correlation of two inputs goes through a map that has a fixed point
at 1. Its slope there, χ = E[f′(Z)²]/E[f(Z)²] for f of a Gaussian Z with the variance that weights
restore, says whether inputs that are nearly alike become more alike, χ < 1 (ordered: gradients
vanish), or less, χ > 1 (chaotic: gradients explode); at χ = 1, signals go deepest.

Schoenholz et al. 2017 (*Deep information propagation*, eq. 5 and section 3), Xiao et al. 2018.
"""

from __future__ import annotations

# How far from 1 a slope may be to count as critical.
_TOLERANCE = 0.02


def phase(slope: float) -> str:
    """`ordered`, `critical` or `chaotic`, by the slope of the correlation map at 1."""
    if abs(slope - 1) <= _TOLERANCE:
        return "critical"
    return "ordered" if slope < 1 else "chaotic"
