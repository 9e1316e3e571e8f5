"""Many machines: Ray hands the pictures out, files and records go through fsspec. Needs the extra `cluster`."""
