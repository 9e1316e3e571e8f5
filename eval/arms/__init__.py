"""Arms of a comparison: noise, published methods and this program, at the same budget."""
