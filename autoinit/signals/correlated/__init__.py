"""The correlated signal model: what is known of a tensor, of its channels, and operations on it."""
