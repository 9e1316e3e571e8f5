"""`python -m pca_protect` is the `pca-protect` command."""

from pca_protect.cli.main import main

if __name__ == "__main__":  # worker processes import it
    main()
