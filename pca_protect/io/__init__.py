"""Reads and writes picture files with their metadata. Imports no torch."""
