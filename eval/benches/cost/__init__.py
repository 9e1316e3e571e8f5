"""Time and memory of protection: `pca-protect bench cost`."""
