"""The HTTP API: an ASGI application with one worker thread for all computation."""
