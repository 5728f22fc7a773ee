"""The yardstick: median CT value per MR value."""
