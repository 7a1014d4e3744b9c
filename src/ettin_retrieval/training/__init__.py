"""Fine-tuning: the base encoder, trained on pairs and their negatives."""
