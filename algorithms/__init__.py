"""The systems of the papers, one folder each, and the yardstick that they have to beat."""
