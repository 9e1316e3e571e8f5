"""Training of universal perturbations on pictures: crops, steps, and the measurement on held-out pictures."""
