"""The GANs of the AFP paper (paper 000): 3-D pix2pixHD and SPADE, with the anatomical feature-prioritised loss."""
