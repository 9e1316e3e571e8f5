"""Pictures: bytes in, pixels; pixels, bytes out."""
