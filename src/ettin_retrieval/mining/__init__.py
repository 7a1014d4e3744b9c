"""Negatives of every training pair, chosen by the base encoder."""
