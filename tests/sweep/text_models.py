"""Tiny configurations of transformers, built from their configuration classes: no download."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from .subjects import Library, NotHere, Subject

NAMES = Path(__file__).with_name("text_models.txt")
TINY: dict[str, Any] = {
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "embed_dim": 32,
    "encoder_hidden_size": 32, "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2,
    "encoder_layers": 2, "decoder_layers": 2, "num_layers": 2, "num_encoder_layers": 2,
    "num_decoder_layers": 2, "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 48, "ffn_dim": 48, "d_ff": 48, "d_kv": 8, "hidden_dim": 48,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "n_inner": 48, "vocab_size": 64,
    "embedding_size": 32, "max_position_embeddings": 64, "n_positions": 64, "image_size": 32,
    "patch_size": 8, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 16, "state_size": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "sliding_window": 8, "num_mel_bins": 16, "max_source_positions": 32,
    "max_target_positions": 32,
}  # fmt: skip


LARGEST = 20e6
"""Parameters; a configuration that is not tiny with these settings is passed over."""


def names() -> list[str]:
    import transformers

    assert transformers.__version__
    return NAMES.read_text().split()


def build(name: str) -> Subject:
    import transformers

    transformers.logging.set_verbosity_error()
    if name not in transformers.CONFIG_MAPPING:
        raise NotHere("not in this version")
    kind = transformers.CONFIG_MAPPING[name]
    try:
        known = dict.fromkeys(getattr(kind, "attribute_map", {})) | kind().to_dict()
        config = kind(
            **{
                key: [value, value] if type(known.get(key)) is list else value
                for key, value in TINY.items()
                if key in known
                and (key == "image_size" or not isinstance(known[key], (list, tuple, dict)))
            }
        )
        config._attn_implementation = "eager"
        with torch.device("meta"):
            parameters = sum(
                p.numel() for p in transformers.AutoModel.from_config(config).parameters()
            )
        if parameters > LARGEST:
            raise OverflowError(f"{parameters / 1e6:.0f} million parameters")
        model: Any = transformers.AutoModel.from_config(config)
        with torch.no_grad():
            model(**arguments(model))
    except Exception as error:
        raise NotHere(f"these settings do not fit: {type(error).__name__}: {error}") from None
    return Subject(model, lambda: ((), arguments(model)))


def arguments(model: Any) -> dict[str, Any]:
    """Make small inputs of the kind that a model asks for."""
    config, main = model.config, model.main_input_name
    if main == "pixel_values":
        size = getattr(config, "image_size", 32)
        height, width = (size, size) if isinstance(size, int) else size
        channels = getattr(config, "num_channels", 3)
        dtype = torch.get_default_dtype()
        return {main: torch.rand(2, channels, height, width, dtype=dtype).requires_grad_()}
    if main != "input_ids":
        raise NotHere(f"no inputs of the kind {main}")
    ids = torch.randint(3, 60, (2, 7))
    made = {"input_ids": ids}
    accepted = inspect.signature(model.forward).parameters
    if "attention_mask" in accepted:
        made["attention_mask"] = torch.ones_like(ids)
    if "decoder_input_ids" in accepted:
        made["decoder_input_ids"] = ids
    return made


LIBRARY = Library("transformers", names, build)
