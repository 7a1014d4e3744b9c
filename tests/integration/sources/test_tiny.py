"""The tiny world and its tokenizer have the same bytes in every process."""

from __future__ import annotations

import os
import subprocess
import sys

DIGESTS = """
import hashlib, json
from ettin_retrieval.base_encoder.random_weights import train_tokenizer
from ettin_retrieval.sources import tiny

texts = {domain: tiny.training_rows(domain) for domain in tiny.DOMAINS}
texts["benchmark"] = {
    name: [getattr(data, part).to_dict("records") for part in ("corpus", "queries", "qrels")]
    for name, data in tiny.benchmark().items()
}
tokenizer = train_tokenizer(tiny.lexicon(), 2048).backend_tokenizer.to_str()
for content in (json.dumps(texts), tokenizer):
    print(hashlib.sha256(content.encode()).hexdigest())
"""


def digests(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_other_hash_seeds_and_threads_generate_the_same_bytes() -> None:
    one = digests(PYTHONHASHSEED="1", RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="true")
    two = digests(PYTHONHASHSEED="2", RAYON_NUM_THREADS="4", TOKENIZERS_PARALLELISM="true")
    assert one == two
    texts, _ = one.split()
    # Bump `VERSION` of the tiny world when this changes.
    assert texts == "b37b8ba842e2e4456771583411594b4efc2d248646cbd3fa451bc85b2ae1939f"
