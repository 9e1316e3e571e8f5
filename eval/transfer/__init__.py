"""Does protection against one VAE help against another? `pca-protect bench transfer`."""
