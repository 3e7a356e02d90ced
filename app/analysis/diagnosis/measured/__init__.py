"""What the figures of one series of weights say; limits stand at the top of each file."""
