"""The results ledger: what every checkpoint scored, and what made it."""
