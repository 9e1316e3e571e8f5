"""Encoders that stand in for the editors to be defended against."""
