"""Tests whether a picture is protected: `pca-protect check`."""
