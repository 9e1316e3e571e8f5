"""What protection costs in time and memory: `pca-protect bench cost`."""
