"""A ModernBERT with random weights in the files of the published Ettin encoders."""

from __future__ import annotations

import json
import string

from tests.hub.rows import WORDS

SPECIAL = {name: f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")}
SYMBOLS = (*string.ascii_lowercase, *string.digits)
VOCABULARY = dict.fromkeys(
    [*SPECIAL.values(), *SYMBOLS, *(f"##{s}" for s in SYMBOLS), *string.punctuation, *WORDS]
)

# config.json as Ettin's, which transformers 4.48 wrote, with a miniature's sizes.
CONFIG = json.loads("""{
    "architectures": ["ModernBertForMaskedLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 0, "classifier_activation": "gelu", "classifier_bias": false,
    "classifier_dropout": 0.0, "classifier_pooling": "mean", "cls_token_id": 0,
    "decoder_bias": true, "deterministic_flash_attn": false, "embedding_dropout": 0.0,
    "eos_token_id": 1, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
    "hidden_activation": "gelu", "hidden_size": 32, "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02, "intermediate_size": 64, "layer_norm_eps": 1e-05,
    "local_attention": 128, "local_rope_theta": 160000.0, "max_position_embeddings": 7999,
    "mlp_bias": false, "mlp_dropout": 0.0, "model_type": "modernbert", "norm_bias": false,
    "norm_eps": 1e-05, "num_attention_heads": 2, "num_hidden_layers": 2, "pad_token_id": 2,
    "position_embedding_type": "sans_pos", "sep_token_id": 1, "tie_word_embeddings": true,
    "torch_dtype": "float32", "transformers_version": "4.48.0"
}""") | {"vocab_size": len(VOCABULARY)}


def encoder_files(seed: int) -> dict[str, bytes]:
    """Files of an encoder whose weights depend on the seed; its tokenizer knows `WORDS`."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer({token: number for number, token in enumerate(VOCABULARY)})
    tokenizer.add_special_tokens(list(SPECIAL.values()))
    special = {f"{name}_token": token for name, token in SPECIAL.items()}
    tokenizer_config = special | {
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": CONFIG["max_position_embeddings"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return {
        "README.md": b"---\nlicense: mit\n---\n# Ettin encoder, miniature\n",
        "config.json": json.dumps(CONFIG, indent=2).encode(),
        "model.safetensors": _weights(seed),
        "special_tokens_map.json": json.dumps(special, indent=2).encode(),
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": json.dumps(tokenizer_config, indent=2).encode(),
    }


def _weights(seed: int) -> bytes:
    """Weights of the encoder and of its masked language model's head, which is not used."""
    import torch
    from safetensors.torch import save
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ModernBertForMaskedLM(ModernBertConfig.from_dict(CONFIG))
        # A layer keeps the variance of its input: texts get clearly different embeddings.
        tensors = {
            name: torch.randn(tensor.shape) * tensor.shape[1] ** -0.5
            if tensor.ndim == 2
            else tensor
            for name, tensor in model.state_dict().items()
        }
    del tensors["decoder.weight"]  # tied to the embeddings
    return save(tensors, metadata={"format": "pt"})
