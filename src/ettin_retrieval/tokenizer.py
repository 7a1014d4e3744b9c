"""A tokenizer for encoders that are made here: the same texts give the same bytes.

The trainers of `tokenizers` break ties by the order of a hash map, so the vocabulary is counted
here and only handed to WordPiece.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Make a lower-casing WordPiece tokenizer of the most frequent words.

    Parameters
    ----------
    texts
        What to count words in; their order does not matter.
    vocabulary
        At most this many entries: special tokens, characters (alone and inside a word, so that
        an unseen word is spelt rather than unknown), then words by falling count.

    Examples
    --------
    >>> tokenizer = train_tokenizer(["Cheap sofas", "sofas last"], vocabulary=64)
    >>> tokenizer.tokenize("Sofas chea")
    ['sofas', 'c', '##h', '##e', '##a']
    >>> tokenizer.decode(tokenizer("cheap sofas")["input_ids"])
    '[CLS] cheap sofas [SEP]'
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        words = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        counts.update(word for word, _ in words)
    entries = _entries(counts, vocabulary)
    core = Tokenizer(models.WordPiece({e: i for i, e in enumerate(entries)}, unk_token="[UNK]"))
    core.normalizer = normalizer
    core.pre_tokenizer = splitter
    core.decoder = decoders.WordPiece()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(t, entries.index(t)) for t in ("[CLS]", "[SEP]")],
    )
    untyped: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = untyped(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    return tokenizer


def _entries(counts: Counter[str], vocabulary: int) -> list[str]:
    """The vocabulary in order; of equally frequent words the alphabetically first."""
    letters = sorted({letter for word in counts for letter in word})
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    if len(pieces) > vocabulary:
        raise ValueError(
            f"vocabulary {vocabulary} is too small: "
            f"special tokens and characters take {len(pieces)}"
        )
    words = sorted((w for w in counts if len(w) > 1), key=lambda word: (-counts[word], word))
    return pieces + words[: vocabulary - len(pieces)]
