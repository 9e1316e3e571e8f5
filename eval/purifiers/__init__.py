"""Purifiers: operations that may remove a protection. `pca-protect bench purify` measures the remaining effect."""
