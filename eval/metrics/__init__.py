"""How far pictures are apart, how well an edit follows its prompt, how good it looks."""
