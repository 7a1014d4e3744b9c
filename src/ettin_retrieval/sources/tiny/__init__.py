"""The tiny world: generated data in which retrieval can be learnt offline, in minutes.

A fact is a finding on an aspect of a subject in a place: *cost of* + *sofas* + *Old Ashford* +
*rose*. Aspects, subjects and findings have three wordings that share no word (*sofas*, *couches*,
*settees*); a place has one. A relevant passage states the query's fact, its aspect and its finding
in other words than the query, and its subject in the query's words only at times. A distractor
has the query's words in every slot but one, where it has another concept: *the cost of sofas in
Old Ashford fell*. So

- matching words, as an untrained encoder does, favours distractors;
- hard negatives matter: a distractor differs from the query in one concept, while a random
  passage differs in the place and nearly always in others too;
- what is learnt of aspects and findings in one of the two domains helps in the other, because
  both share them; subjects and some aspects belong to one domain and are learnt only there.

Training, development and benchmark queries are about different facts: memorised training queries
answer nothing in the benchmark.

>>> sorted(benchmark())
['TinyDBPedia', 'TinyMSMARCO', 'TinyNFCorpus', 'TinySciFact']
>>> row = training_rows("web")["train"][0]
>>> sorted(row)
['answers', 'passages', 'query', 'query_id', 'query_type', 'wellFormedAnswers']
>>> len(row["passages"]["passage_text"])
10
"""

from ettin_retrieval.sources.tiny.rows import teacher_scores, training_rows
from ettin_retrieval.sources.tiny.tasks import LICENCE, TASKS, benchmark
from ettin_retrieval.sources.tiny.world import DOMAINS, VERSION, DomainName, lexicon

__all__ = [
    "DOMAINS", "LICENCE", "TASKS", "VERSION", "DomainName", "benchmark", "lexicon",
    "teacher_scores", "training_rows",
]  # fmt: skip
