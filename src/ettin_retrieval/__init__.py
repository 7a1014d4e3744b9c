"""Fine-tune Ettin encoders for retrieval, evaluate them on MTEB, and regenerate the tables.

The pipeline is `dvc.yaml`; each of its stages runs one module of this package.
"""

__version__ = "0.1.0"
