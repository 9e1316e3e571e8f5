"""The attack on tensors: losses, optimiser, transforms. Independent of picture files and models."""
