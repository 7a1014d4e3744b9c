"""Fine-tune Ettin encoders for retrieval, evaluate them on MTEB, and regenerate the tables.

The pipeline is `dvc.yaml`; each of its stages is one module of `ettin_retrieval.stages`.
"""

__version__ = "0.1.0"
