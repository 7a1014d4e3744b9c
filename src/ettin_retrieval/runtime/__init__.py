"""What every stage stands on: errors, files, determinism, the device and its ranks."""
