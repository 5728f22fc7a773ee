"""Settings of a tiny ldm-brain, for the tests that build one."""

from __future__ import annotations

from algorithms.ldm_brain.networks import LdmConfig

__all__ = ["CT", "NETWORKS"]

CT = {"low": -1024.0, "high": 3071.0, "offset": 1023.5, "scale": 2047.5}
NETWORKS = LdmConfig.model_validate(
    {
        "autoencoder": {"channels": (4, 8), "latent_channels": 2, "res_blocks": 1, "norm_groups": 2},
        "denoiser": {
            "channels": (4, 8),
            "attention": (False, False),
            "head_channels": (0, 4),
            "res_blocks": 1,
            "norm_groups": 2,
        },
        "embedding": (2, 4),
    }
)
"""Factor 2, and latents that are multiples of 2."""
