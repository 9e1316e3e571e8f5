"""The benchmarks of `pca-protect bench NAME`, one file each."""
