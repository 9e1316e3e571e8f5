"""The benchmarks, one file each: what `pca-protect bench NAME` measures."""
