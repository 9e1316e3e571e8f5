"""Surrogates: encoders that stand in for the editors to defend against."""
