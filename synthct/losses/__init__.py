"""What training minimises, where two or more algorithms share it."""
