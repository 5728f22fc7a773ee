"""Synthetic CT from MR and cone-beam CT: what every container shares. Knows no algorithm and no metric."""
