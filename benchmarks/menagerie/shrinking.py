"""Small sizes for architectures that come with large ones, by what their arguments are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

LAYERS, EXPERTS, HEADS, HEAD_DIM, WIDTH, VOCABULARY, LENGTH = 1, 4, 4, 16, 64, 500, 32


def _few(most: int) -> Callable[[Any], Any]:
    """Whole numbers, and those of a list one by one, up to so many."""

    def limited(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(limited(each) for each in value)
        return min(value, most) if isinstance(value, int) else value

    return limited


def _exactly(size: Any) -> Callable[[Any], Any]:
    """That, in place of whole numbers."""
    return lambda value: size if isinstance(value, int) and value else value


# The first that fits the name of an argument counts; widths of stages stay as they are.
_RULES: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    (r".*vocab(ulary)?_?size.*", _exactly(VOCABULARY)),
    (r".*_token_(id|index)", lambda value: value % VOCABULARY if isinstance(value, int) else value),
    (r"mrope_section|.*_rope_section", lambda value: value and type(value)((2, 3, 3))),
    (r".*(experts_per_tok|top_k|topk)", _few(2)),
    (r"n_group|topk_group|.*shared_experts|first_k_dense|num_groups", _few(1)),
    (r"(num|n)_(routed_|local_)?experts", _few(EXPERTS)),
    (r".*(kv_heads|key_value_heads|num_kv|query_groups|linear_num_key_heads)", _few(2)),
    (r".*(num_heads|num_attention_heads|attention_heads|_heads|^heads)",
     lambda value: 2 if value == 3 else _few(HEADS)(value)),
    (r".*rope_(head_)?dim", _exactly(HEAD_DIM // 2)),
    (r".*(head_dim|key_value_dim|kv_channels|head_size|lora_rank|_rank)", _exactly(HEAD_DIM)),
    (r".*(num_queries|num_latents|num_query_tokens)", _few(8)),
    (r".*(moe_mlp_dim|moe_intermediate_dim|mlp_dim|intermediate|ffn|feedforward|filter_dim).*",
     _exactly(2 * WIDTH)),
    (r".*(max_position_embeddings|max_sequence_length|max_seq_len|sequence_length|window"
     r"|max_relative_positions|position_buckets|context_length|max_position)",
     _few(LENGTH)),
    (r".*(embed_dim|hidden_dim|hidden_size|embedding_dim|embedding_size|projection_dim|d_model"
     r"|model_dim|_out_dim|backbone_dim|feature_size|projection_filters)",
     _exactly(WIDTH)),
    (r".*(depths|num_repeats|num_blocks|layerwise_depths)", _few(1)),
    (r".*(num_layers|num_hidden_layers|_layers|depth|_blocks)", _few(LAYERS)),
    (r".*layer_types", lambda value: value and list(dict.fromkeys(value))[-LAYERS:]),
)  # fmt: skip


def shrunk(arguments: Mapping[str, Any], **chosen: Any) -> dict[str, Any]:
    """The same arguments with small values, and some as they are chosen.

    Args:
        arguments: of an architecture, by their names.
        chosen: what no rule can know.

    Returns:
        Few layers, heads and experts, narrow ones, a small vocabulary and small images: what is
        called `num_layers` is at most 2, and so on.
    """
    found = {name: _small(name, value) for name, value in arguments.items()} | chosen
    patch = found.get("patch_size") or found.get("vision_patch_size") or 16
    patch = patch if isinstance(patch, int) else patch[0]
    for name in ("image_size", "vision_image_size"):
        if name in found and name not in chosen:
            found[name] = max(patch * 2, 32)
    return found


def _small(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return shrunk(value)
    for pattern, rule in _RULES:
        if re.fullmatch(pattern, name):
            return rule(value) if not isinstance(value, bool) else value
    return value
