"""The learning rates that recorded sweeps chose: a rate belongs to an encoder and its objective."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.errors import InputError

SWEEPS = Path("studies/sweeps")
"""Records of `ettin-retrieval sweep`."""

RATES = "1e-5,2e-5,4e-5,8e-5,1.5e-4,3e-4,5e-4"
"""What a sweep tries by default: each about twice the one before. The guide's 2e-5 and the authors'
3e-4 are among them."""


def sweep_name(model: str, recipe: str, objective: str) -> str:
    """Name of a sweep's record, without suffix.

    >>> sweep_name("17m", "paper", "contrastive"), sweep_name("17m", "paper", "triplet")
    ('17m-paper', '17m-paper-triplet')
    """
    return f"{model}-{recipe}" + ("" if objective == "contrastive" else f"-{objective}")


def swept_rate(
    model: str, recipe: str, objective: str, fingerprint: str, directory: Path = SWEEPS
) -> float | None:
    """The rate that the finished sweep of this encoder, recipe and objective chose.

    Parameters
    ----------
    fingerprint
        Of the encoder that training starts from. The sweep of another one says nothing about it.

    Returns
    -------
    None without a finished sweep.

    Raises
    ------
    InputError
        The record is malformed.
    """
    path = directory / f"{sweep_name(model, recipe, objective)}.json"
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        chosen = record["chosen"]
        same = record["encoder"] == fingerprint
        return float(chosen["learning_rate"]) if chosen and same else None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: not the record of a sweep; restore it with git, or delete it and run "
            "`ettin-retrieval sweep` again"
        ) from None


def rate_record(
    settings: dict[str, Any], fingerprint: str, directory: Path = SWEEPS
) -> dict[str, Any]:
    """What a run's record says of its learning rate: the value, and whether a sweep chose it.

    Parameters
    ----------
    settings
        Resolved settings of the run.
    fingerprint
        As in `swept_rate`, which has the errors.
    """
    objective, rate = (settings["finetuning"][key] for key in ("objective", "learning_rate"))
    swept = swept_rate(settings["model"], settings["recipe"], objective, fingerprint, directory)
    return {"value": rate, "tuned": rate == swept}
