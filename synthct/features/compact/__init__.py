"""The compact extractor: a seven-class CT segmentation network that the AFP loss compares by (ALGORITHMS 1.3)."""
