"""The base classes of estimators written by users, at their place in the published package."""

from autoinit.rules.estimators import (
    LayerOutputDistributionEstimator,
    PassThroughOutputDistributionEstimator,
)

__all__ = ["LayerOutputDistributionEstimator", "PassThroughOutputDistributionEstimator"]
