"""Tables, plots and verdicts, from the ledger and the expected scores alone."""
