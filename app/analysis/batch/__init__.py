"""Many models: a row for each, and the file that they are kept in. Nothing here imports Keras."""
