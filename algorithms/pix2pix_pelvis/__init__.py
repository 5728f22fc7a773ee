"""pix2pix for the pelvis (paper 003): 3-D U-Net generator, patch discriminator, adversarial + 100 L1."""
