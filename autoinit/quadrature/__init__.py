"""Quadrature."""
