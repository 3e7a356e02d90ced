"""What runs through a graph of calls: its inputs, and what a run leaves behind, put back."""
