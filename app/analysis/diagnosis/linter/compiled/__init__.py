"""What a model is compiled with: losses and optimizers, as they are stored."""
