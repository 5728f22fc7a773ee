"""CREPs cGAN (paper 001): trained on MR and CT of different patients, by a patch discriminator and a style loss."""
