"""The encoder before fine-tuning: a hub id, a directory or random weights as a checkpoint."""
