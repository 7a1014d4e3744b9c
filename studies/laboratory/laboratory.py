"""Is the embedded collection a small laboratory? Three claims, each with several seeds.

1. Fine-tuning on the web rows beats the untrained encoder on every task.
2. Negatives mined by the untrained encoder beat random negatives.
3. Training in a domain beats training in the other one, both ways.

    python studies/laboratory/laboratory.py

writes laboratory.md and laboratory.json beside this file. The seed is that of the initial
weights, of the order of training and of random negatives; the collection stays the same.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ettin_retrieval.data.dataset import Origin, RetrievalDataset
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.runtime.determinism import pin_arithmetic, seed_everything
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import msmarco, tiny
from ettin_retrieval.sources.training_data import training_and_dev

logger = logging.getLogger("laboratory")

HERE = Path(__file__).parent
SEEDS = (42, 43, 44)
AVERAGE = "average"
Scores = dict[str, float]
"""Task, or a mean over tasks, to nDCG@10."""


@dataclass(frozen=True)
class Arm:
    """An encoder to compare; without a domain it is the untrained one."""

    name: str
    domain: tiny.DomainName | None = None
    sampling: str = "hard"


BASE = Arm("base")
WEB = Arm("web, hard", "web")
RANDOM = Arm("web, random", "web", "random")
SCIENTIFIC = Arm("scientific, hard", "scientific")
ARMS = (BASE, WEB, RANDOM, SCIENTIFIC)


def main() -> None:
    """Run every arm with every seed and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    settings = load_settings(arguments.params).model_copy(update={"model": "tiny"})
    pin_arithmetic(settings.strict)
    scores: dict[str, dict[int, Scores]] = {arm.name: {} for arm in ARMS}
    with tempfile.TemporaryDirectory() as directory:
        benchmark = Path(directory) / "benchmark"
        for name, dataset in tiny.benchmark().items():
            write_dataset(dataset, benchmark / name)
        for seed in arguments.seeds:
            for arm in ARMS:
                work = Path(directory) / f"{seed}" / arm.name
                scores[arm.name][seed] = run(arm, with_seed(settings, arm, seed), benchmark, work)
                told = " ".join(f"{task} {s:.3f}" for task, s in scores[arm.name][seed].items())
                logger.info("seed %d, %s: %s", seed, arm.name, told)
    comparisons = compare(scores)
    facts = described(settings)
    write_json(
        arguments.output / "laboratory.json",
        {"settings": facts, "scores": scores, "comparisons": comparisons},
    )
    (arguments.output / "laboratory.md").write_text(
        page(facts, scores, comparisons), encoding="utf-8"
    )


def with_seed(settings: Settings, arm: Arm, seed: int) -> Settings:
    """The settings of params.yaml with an arm's negatives and a seed, validated again."""
    content = settings.model_dump()
    content["seed"] = seed
    content["negatives"]["sampling"] = arm.sampling
    return Settings.model_validate(content)


def run(arm: Arm, settings: Settings, benchmark: Path, work: Path) -> Scores:
    """nDCG@10 of one arm on every task, and the means over them: what the stages do in turn."""
    from ettin_retrieval.base_encoder.random_weights import random_encoder
    from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
    from ettin_retrieval.evaluation.score import score_checkpoint
    from ettin_retrieval.mining.mine import mine
    from ettin_retrieval.training.examples import training_examples
    from ettin_retrieval.training.finetune import finetune

    base, tuned = work / "base", work / "tuned"
    scratch = work / "scratch"
    for directory in (base, scratch):
        directory.mkdir(parents=True)
    entry = settings.encoder
    if entry.shape is None:
        raise ValueError("the laboratory is about the encoder of random weights")
    texts = tiny.lexicon()
    model = random_encoder(entry, texts, settings.seed, scratch)
    save_checkpoint(model, base, {"source": "embedded", "revision": f"seed {settings.seed}"})
    if arm.domain is not None:
        data = training_data(arm.domain, settings)
        mined, _ = mine(data["train"], load_checkpoint(base), settings)
        seed_everything(settings.seed, settings.strict)
        model = load_checkpoint(base)
        finetune(
            model, training_examples(data["train"], mined), data["dev"], settings, work / "trainer"
        )
        save_checkpoint(model, tuned, {"source": "finetuned", "revision": arm.name})
    checkpoint = base if arm.domain is None else tuned
    tasks = score_checkpoint(checkpoint, benchmark, settings, f"laboratory/{work.name}")
    scores = {task.name: task.scores["ndcg_at_10"] for task in tasks}
    return scores | means(scores)


def training_data(domain: tiny.DomainName, settings: Settings) -> dict[str, RetrievalDataset]:
    """Training and development set of a domain, chosen as stage training_data does."""
    rows = tiny.training_rows(domain)
    datasets = {
        name: msmarco.from_rows(
            rows[name],
            Origin("synthetic", tiny.VERSION, tiny.LICENCE, name),
            skip_without_positive=False,
        )
        for name in rows
    }
    return training_and_dev(datasets, settings)


def means(scores: Scores) -> Scores:
    """Means over the tasks of each domain and over all."""
    domains: dict[str, list[float]] = {domain: [] for domain in tiny.DOMAINS}
    for name, task in tiny.TASKS.items():
        domains[task.domain].append(scores[name])
    groups = domains | {AVERAGE: list(scores.values())}
    return {name: sum(values) / len(values) for name, values in groups.items()}


def compare(scores: dict[str, dict[int, Scores]]) -> list[dict[str, Any]]:
    """Every comparison that a claim is made of, as differences paired by seed."""
    tasks = [*tiny.TASKS, AVERAGE]
    of_domain = {
        domain: [n for n, t in tiny.TASKS.items() if t.domain == domain] + [domain]
        for domain in tiny.DOMAINS
    }
    wanted = [("fine-tuning beats base", WEB, BASE, task) for task in tasks]
    wanted += [("mined beat random negatives", WEB, RANDOM, task) for task in tasks]
    wanted += [("in-domain wins, web", WEB, SCIENTIFIC, task) for task in of_domain["web"]]
    wanted += [
        ("in-domain wins, scientific", SCIENTIFIC, WEB, task) for task in of_domain["scientific"]
    ]
    comparisons = []
    for claim, winner, loser, task in wanted:
        first, second = scores[winner.name], scores[loser.name]
        differences = [first[seed][task] - second[seed][task] for seed in first]
        comparisons.append(
            {
                "claim": claim,
                "task": task,
                "winner": winner.name,
                "loser": loser.name,
                "winner_scores": summary([first[seed][task] for seed in first]),
                "loser_scores": summary([second[seed][task] for seed in second]),
                "difference": summary(differences),
                "seeds_won": sum(difference > 0 for difference in differences),
                "seeds": len(differences),
            }
        )
    return comparisons


def summary(values: list[float]) -> dict[str, float]:
    """Mean, least and greatest."""
    return {"mean": sum(values) / len(values), "min": min(values), "max": max(values)}


def described(settings: Settings) -> dict[str, Any]:
    """What decides the figures."""
    finetuning, negatives = settings.finetuning, settings.negatives
    return {
        "generator": tiny.VERSION,
        "shape": settings.encoder.shape.model_dump() if settings.encoder.shape else None,
        "objective": finetuning.objective,
        "temperature": finetuning.temperature,
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "negatives_per_query": negatives.per_query,
        "strict": settings.strict,
    }


def page(
    facts: dict[str, Any],
    scores: dict[str, dict[int, Scores]],
    comparisons: list[dict[str, Any]],
) -> str:
    """The table of the claims, as Markdown."""
    seeds = ", ".join(str(seed) for seed in scores[BASE.name])
    lines = [
        "# The embedded collection as a laboratory",
        "",
        f"nDCG@10 in points, mean (least to greatest) over seeds {seeds}. Differences are paired",
        "by seed. Made by `python studies/laboratory/laboratory.py`; do not edit.",
        "",
        ", ".join(f"{key}: {value}" for key, value in facts.items() if key != "shape") + ".",
    ]
    claims = list(dict.fromkeys(comparison["claim"] for comparison in comparisons))
    for claim in claims:
        rows = [comparison for comparison in comparisons if comparison["claim"] == claim]
        lines += [
            "",
            f"## {claim[0].upper()}{claim[1:]}",
            "",
            f"| task | {rows[0]['winner']} | {rows[0]['loser']} | difference | seeds won |",
            "|---|---|---|---|---|",
        ]
        lines += [table_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def table_row(row: dict[str, Any]) -> str:
    """One comparison as a row of a Markdown table."""
    cells = [points(row[key]) for key in ("winner_scores", "loser_scores", "difference")]
    return f"| {row['task']} | {' | '.join(cells)} | {row['seeds_won']} of {row['seeds']} |"


def points(values: dict[str, float]) -> str:
    """Mean (least to greatest), times a hundred.

    >>> points({"mean": 0.5, "min": 0.25, "max": 0.75})
    '50.0 (25.0 to 75.0)'
    """
    mean, least, greatest = (100 * values[key] for key in ("mean", "min", "max"))
    return f"{mean:.1f} ({least:.1f} to {greatest:.1f})"


if __name__ == "__main__":
    main()
