"""How protected is this picture? `pca-protect check`."""
