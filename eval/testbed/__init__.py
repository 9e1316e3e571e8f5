"""Are the embedded models a fair stand-in for real ones? `pca-protect bench testbed`."""
