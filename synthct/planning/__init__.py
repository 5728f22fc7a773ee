"""From a data set to a plan: fingerprint, spacing, patch, pooling and batch by nnU-Net's rules (ALGORITHMS 6)."""
