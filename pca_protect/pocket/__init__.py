"""The embedded models: weights, configurations and model card. Package data only."""
