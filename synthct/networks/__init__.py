"""Networks that two or more algorithms, or an algorithm and a feature extractor, build."""
