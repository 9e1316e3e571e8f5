"""Metrics: distance between pictures, similarity of an edit to its prompt, quality of an edit."""
