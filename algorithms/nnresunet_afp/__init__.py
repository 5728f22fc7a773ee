"""nnResU-Net with the anatomical feature-prioritised loss (papers 000 and 002)."""
