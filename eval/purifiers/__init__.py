"""Does protection survive what happens to pictures? `pca-protect bench purify`."""
