"""A WordPiece tokenizer made from texts: the same texts give the same bytes.

The trainers of `tokenizers` break ties by the order of a hash map, so the vocabulary is counted
here.
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
        Where words are counted; their order does not matter.
    vocabulary
        Maximum number of entries: special tokens, characters (alone and inside a word, so that an
        unseen word is spelt rather than unknown), words by falling count, then pieces of words
        (two to four characters) by falling count.

    Examples
    --------
    >>> tokenizer = train_tokenizer(["Cheap sofas", "sofas last"], vocabulary=64)
    >>> tokenizer.tokenize("Sofas chea")
    ['sofas', 'chea']
    >>> train_tokenizer(["Cheap sofas", "sofas last"], vocabulary=26).tokenize("Sofas chea")
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
    """The vocabulary in order; equally frequent entries are in alphabetical order."""
    letters = sorted({letter for word in counts for letter in word})
    entries = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    if len(entries) > vocabulary:
        raise ValueError(
            f"vocabulary {vocabulary} is too small: "
            f"special tokens and characters take {len(entries)}"
        )
    words = Counter({word: count for word, count in counts.items() if len(word) > 1})
    for further in (words, _pieces(words)):
        known = set(entries)
        new = (entry for entry in further if entry not in known)
        entries += sorted(new, key=lambda entry: (-further[entry], entry))
    return entries[:vocabulary]


def _pieces(words: Counter[str]) -> Counter[str]:
    """Beginnings (`ch`) and further parts (`##eap`) of words, two to four characters long."""
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for end in range(start + 2, min(start + 4, len(word)) + 1):
                pieces[("##" if start else "") + word[start:end]] += count
    return pieces
