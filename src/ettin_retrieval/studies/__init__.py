"""Studies: several encoders trained and compared, one command and one process each.

Every study reads what the pipeline made (base encoder, training data, negatives, benchmark),
writes an entry of a ledger of its own for each encoder that it trains (`results/studies/NAME`,
in the form of `ettin_retrieval.results`), and makes its tables and pictures from those entries.
The ledger of the pipeline, and the tables made from it, know nothing of them.
"""
