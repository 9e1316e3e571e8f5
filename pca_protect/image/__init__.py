"""Geometry of pictures: tensors, windows, sizes, masks."""
