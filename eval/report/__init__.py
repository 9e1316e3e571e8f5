"""One self-contained page about a benchmark."""
