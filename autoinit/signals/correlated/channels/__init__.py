"""What is known of each channel, where weights are given (L), and of each entry (M)."""
