"""`python -m pca_protect` is the `pca-protect` command."""

from pca_protect.cli.main import main

main()
