"""The web page behind `pca-protect ui`: everything happens on the machine it runs on."""
