"""The web page of `pca-protect ui`. All processing runs on the machine that serves it."""
