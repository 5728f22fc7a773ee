"""Reading models that nnU-Net v2 trained, without running anything that their files hold."""
