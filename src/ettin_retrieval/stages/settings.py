"""Stage settings: params.yaml checked, as a whole and against this machine, and resolved."""

from __future__ import annotations

from typing import Any

from ettin_retrieval.params import Settings
from ettin_retrieval.records import write_json
from ettin_retrieval.stages import Paths, run_stage


def in_force(settings: Settings) -> dict[str, Any]:
    """Settings with every `auto` resolved, and of the encoders only the selected one."""
    content = settings.model_dump(exclude={"encoders", "recipes", "studies"})
    content["encoder"] = settings.encoder.model_dump(exclude={"guide", "paper"})
    content["data"] |= {"train": settings.train_source, "benchmark": settings.benchmark_source}
    content["finetuning"] |= {
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
    }
    return content


def body(settings: Settings, paths: Paths) -> None:
    """Check what can be checked at once, and write the settings in force as JSON."""
    from ettin_retrieval import preflight

    preflight.check(settings)
    write_json(paths["settings"], in_force(settings))


if __name__ == "__main__":
    run_stage("settings", body, reads=["params"], writes=["settings"])
