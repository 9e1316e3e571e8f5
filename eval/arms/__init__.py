"""What is compared: noise, methods from the literature, and this program's own, at one budget and with one optimiser."""
