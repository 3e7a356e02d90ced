"""What is known of each channel, where weights are given (L)."""
