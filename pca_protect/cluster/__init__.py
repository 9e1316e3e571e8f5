"""Runs on a Ray cluster, with files and records in any fsspec storage. Needs the extra `cluster`."""
