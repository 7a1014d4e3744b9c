"""Training data of two domains that differs in the domain alone.

Both sides leave out every query that shares its text or a relevant passage with the evaluation, and
have the same number of queries and of pairs. Pairs per query are capped: an NFCorpus query has
about 40 relevant passages and an MS MARCO query one, so that as many queries would be forty times
as much training.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.experiment import Material
from ettin_retrieval.studies.domains import SCIENTIFIC, WEB
from ettin_retrieval.studies.settings import TwoDomains
from ettin_retrieval.studies.study import Study

WEB_READS = ("web-training", "web-negatives")
"""Further options of a study of both domains; its own training data is the scientific one."""


def two_domains(study: Study) -> dict[str, Material]:
    """What the stages wrote for both domains, without what the evaluation asks."""
    web = Material.read(*(study.paths[option] for option in WEB_READS))
    materials = {WEB: web, SCIENTIFIC: study.material}
    clean, _ = study.without_overlap({name: m.train for name, m in materials.items()})
    return {name: with_train(m, clean[name]) for name, m in materials.items()}


def amount_in_words(material: Material) -> str:
    """The note on how much either domain trains on."""
    queries, pairs = len(material.train.queries), len(material.pairs or [])
    return (
        f"Either domain trains on {queries:,} queries and {pairs:,} pairs, drawn by the seed from "
        "those that share neither their text nor a relevant passage with the evaluation, and keeps "
        "the last weights."
    )


def with_train(material: Material, train: RetrievalDataset) -> Material:
    """The material with fewer training queries, and the pairs of those."""
    kept = set(train.queries["id"])
    pairs = [pair for pair in material.pairs or [] if pair[0] in kept]
    return replace(material, train=train, pairs=pairs)


def matched(materials: dict[str, Material], limits: TwoDomains, seed: int) -> dict[str, Material]:
    """A seeded sample of each domain: as many queries, and as many pairs, in all of them.

    Every query keeps its judgments, so that mining knows what is relevant to it; the pairs alone
    are capped. Second and later pairs of a query are dropped first where one domain has more.
    """
    ranked = {name: _in_ranks(m.pairs or [], seed) for name, m in materials.items()}
    counts = [len({pair[0] for pair in pairs}) for pairs in ranked.values()]
    queries = min([*counts, limits.queries or max(counts)])
    for name, pairs in ranked.items():
        chosen = set(list(dict.fromkeys(pair[0] for pair in pairs))[:queries])
        seen: Counter[str] = Counter()
        kept = []
        for pair in pairs:
            seen[pair[0]] += 1
            if pair[0] in chosen and seen[pair[0]] <= limits.pairs_per_query:
                kept.append(pair)
        ranked[name] = kept
    most = min(map(len, ranked.values()))
    return {name: _only(materials[name], pairs[:most]) for name, pairs in ranked.items()}


def _in_ranks(pairs: list[Pair], seed: int) -> list[Pair]:
    """All pairs in random order, but the first one of every query before the second of any."""
    shuffled = [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))]
    seen: Counter[str] = Counter()
    ranks = []
    for query, _, _ in shuffled:
        ranks.append(seen[query])
        seen[query] += 1
    return [shuffled[i] for i in np.argsort(ranks, kind="stable")]


def _only(material: Material, pairs: list[Pair]) -> Material:
    """The material of some pairs, in the order that they had."""
    kept = {(query, positive) for query, positive, _ in pairs}
    train = material.train.with_queries(sorted({query for query, _ in kept}))
    return replace(
        material,
        train=train.with_notes(pairs_trained_on=len(kept)),
        pairs=[pair for pair in material.pairs or [] if pair[:2] in kept],
    )
