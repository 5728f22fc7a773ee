"""What every training recipe stands on."""
