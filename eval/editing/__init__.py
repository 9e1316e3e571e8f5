"""Does protection make edits fail? `pca-protect bench editing` and `bench prompts`."""
