"""Frozen networks whose features a loss compares: HU in, features out (AFP and perceptual losses)."""
