"""Moments of tensors: what is kept of them, on the host and on the device."""
