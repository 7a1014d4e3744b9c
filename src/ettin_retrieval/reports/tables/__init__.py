"""The documents made from the ledger, one module each."""
