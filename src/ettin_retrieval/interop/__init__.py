"""Reference models, public leaderboards and other tools, on top of evaluation and ledger."""

BM25_MODEL = "mteb/baseline-bm25s"
"""mteb's name of BM25."""
