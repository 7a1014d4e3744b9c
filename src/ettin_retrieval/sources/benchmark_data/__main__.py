"""Stage benchmark_data: write data/benchmark."""

from ettin_retrieval.pipeline import run_stage
from ettin_retrieval.sources.benchmark_data import run

if __name__ == "__main__":
    run_stage("benchmark_data", run, writes=["benchmark"])
