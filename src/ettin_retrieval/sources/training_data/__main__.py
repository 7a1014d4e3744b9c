"""Stage training_data: write data/training."""

from ettin_retrieval.pipeline import run_stage
from ettin_retrieval.sources.training_data import run

if __name__ == "__main__":
    run_stage("training_data", run, reads=["heldout"], writes=["training"])
