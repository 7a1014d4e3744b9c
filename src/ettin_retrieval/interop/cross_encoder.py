"""A cross-encoder as a teacher: one score for a query and a passage read together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import trange

from ettin_retrieval.base_encoder.model_directory import (
    check_model_directory,
    module_directories,
)
from ettin_retrieval.runtime.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Scores = npt.NDArray[np.float32]
Score = Callable[[list[tuple[str, str]]], Scores]
"""Texts of queries and passages to their scores, of shape (pairs,)."""

AT_ONCE = 1024
"""Pairs between two looks at the scores: a broken teacher is found out early."""


def load_cross_encoder(directory: Path) -> Score:
    """The scores of a sentence-transformers `CrossEncoder`, in fp32, on the GPU if there is one.

    Only local files, only safetensors, no code of the directory's own. Scores are logits: the
    sigmoid that many a cross-encoder ends with is 1.0 in fp32 for all that is clearly relevant.

    Raises
    ------
    InputError
        The directory is not a cross-encoder with one score per pair, or some of its weights are
        missing, as those of the head are in an encoder for retrieval.
    """
    where = f"--teacher {directory}"
    if not directory.is_dir():
        raise InputError(f"{where}: no such directory; give that of a cross-encoder")
    check_model_directory(directory, where)
    model = _load(directory, where)
    if model.num_labels != 1:
        raise InputError(
            f"{where}: gives {model.num_labels} scores for a pair, as a classifier does; a teacher "
            "gives one"
        )

    def score(pairs: list[tuple[str, str]]) -> Scores:
        import torch

        scores = np.empty(len(pairs), dtype=np.float32)
        logits = torch.nn.Identity()
        for start in trange(0, len(pairs), AT_ONCE, desc="scoring pairs", unit="part", leave=False):
            part = pairs[start : start + AT_ONCE]
            scores[start : start + len(part)] = model.predict(
                part, activation_fn=logits, show_progress_bar=False
            )
            _check_finite(scores[start : start + len(part)], part, where)
        return scores

    return score


def _check_finite(scores: Scores, pairs: list[tuple[str, str]], where: str) -> None:
    if not (wrong := ~np.isfinite(scores)).any():
        return
    query, passage = pairs[int(wrong.argmax())]
    raise InputError(
        f"{where}: the score of the query {query[:80]!r} and the passage {passage[:80]!r} is not a "
        "finite number; its weights are damaged, give another cross-encoder"
    )


def _load(directory: Path, where: str) -> CrossEncoder:
    import torch
    from safetensors import SafetensorError
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging as reports

    with ExitStack() as afterwards:
        # What is missing is reported in one line instead of a table.
        afterwards.callback(reports.set_verbosity, reports.get_verbosity())
        reports.set_verbosity(logging.ERROR)
        try:
            model = CrossEncoder(
                str(directory),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
            missing = _missing_weights(model[0].model, directory)
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError,
            SafetensorError,
        ) as error:  # fmt: skip
            message = f"{where}: not a cross-encoder that can be loaded: {str(error)[:200]}"
            raise InputError(message) from None
    if missing:
        raise InputError(
            f"{where}: the weights lack {missing[0]!r} (and {len(missing) - 1} more) of "
            f"{type(model[0].model).__name__}; it is another kind of model, or incomplete"
        )
    return model


def _missing_weights(model: Any, directory: Path) -> list[str]:
    """Names of the weights that loading left random; read once more, on the meta device."""
    _, found = type(model).from_pretrained(
        str(module_directories(directory)[0]),
        config=model.config,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        device_map="meta",
    )
    return sorted(found["missing_keys"])
