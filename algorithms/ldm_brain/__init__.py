"""Latent diffusion of the brain's CT, steered by the MR through a ControlNet (paper 003)."""
