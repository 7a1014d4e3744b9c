"""What every stage reads: retrieval datasets and mined negatives, in memory and on disk."""
