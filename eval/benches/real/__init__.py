"""`pca-protect bench real`: `bench editing` on published editors, planned for a GPU of a given size."""
