"""Files of trained universal perturbations: their format, the embedded ones, and the user's cache."""
