"""Checkpoints and how they turn texts into embeddings: shared by mining, training, evaluation."""
