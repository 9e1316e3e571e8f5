"""The method on tensors: losses, the optimiser, and what is averaged over. Knows neither pictures nor models."""
