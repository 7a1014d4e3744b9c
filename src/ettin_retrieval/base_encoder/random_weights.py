"""The encoder of the tiny world: a ModernBERT with random weights, a tokenizer made from texts.

The same texts and seed give the same bytes. The trainers of `tokenizers` break ties by the order
of a hash map, so the vocabulary is counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval.base_encoder.pretrained import assemble
from ettin_retrieval.settings.sections import Encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def random_encoder(
    entry: Encoder, texts: list[str], seed: int, scratch: Path
) -> SentenceTransformer:
    """A ModernBERT of the entry's shape with random weights and a tokenizer made from the texts.

    The transformers files go into the empty directory `scratch` and are read back like any other
    encoder's.
    """
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    shape = entry.shape
    if shape is None:
        raise ValueError("an encoder with random weights needs a shape")
    tokenizer = train_tokenizer(texts, shape.vocabulary)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=1024,
        local_attention=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ModernBertModel(config)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    return assemble(scratch, entry, "encoder with random weights")


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
