"""Turn jobs into outputs: in threads of this process, in worker processes, or on a Ray cluster."""
