"""Studies: several encoders trained and compared, in the DVC project `studies/`.

Each study reads what the pipeline made, keeps a ledger entry for every encoder that it trains, and
makes its tables and pictures from those entries. The pipeline's ledger knows nothing of them.
"""
