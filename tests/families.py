"""A tiny random model of each of some forty families, each of which once went wrong or may."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from cpt.training.data.sequences import TokenSequence

VOCABULARY, WIDTH, POSITIONS, WINDOW = 97, 32, 128, 12

SIZES: Mapping[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_decoder_attention_heads", "num_encoder_attention_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), POSITIONS),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "keep_window_size"), WINDOW),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_top_k"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **{"num_key_value_heads": 2, "head_dim": 8, "kv_channels": 8, "state_size": 4},
    **{"n_group": 2, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1},
    **{"num_dense_layers": 1, "decoder_sparse_step": 1},
    **{"kv_lora_rank": 8, "q_lora_rank": 12, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4},
    **{"v_head_dim": 6, "qk_head_dim": 8, "hidden_size_per_layer_input": 8},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
"""What makes a model tiny, where its configuration has it. Windows are shorter than the rows."""

MLA = {"num_key_value_heads": 4}
BOTH = ["sliding_attention", "full_attention"]
FULL = ["full_attention"] * 2
ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": 24}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.5, 2.0, 4.0, 8.0]}
LINEAR = {
    **{"layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 8},
    **{"linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
}

FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, dynamic rope": (
        "llama",
        {"rope_parameters": {**ROPE, "rope_type": "dynamic", "factor": 4.0}},
    ),
    "phi3, longrope": (
        "phi3",
        {
            "rope_parameters": {**ROPE, **LONG},
            "original_max_position_embeddings": 24,
            "sliding_window": None,
        },
    ),
    "afmoe": ("afmoe", {}),
    "bloom": ("bloom", {}),
    "codegen": ("codegen", {"rotary_dim": 4}),
    "bart": ("bart", {"is_decoder": True}),
    "bert, decoder": ("bert", {"is_decoder": True}),
    "biogpt": ("biogpt", {}),
    "deepseek_v2": (
        "deepseek_v2",
        {**MLA, "n_group": None, "topk_group": None, "num_experts_per_tok": 2},
    ),
    "deepseek_v3": ("deepseek_v3", {**MLA, "head_dim": 4}),
    "deepseek_v32": ("deepseek_v32", {**MLA, "index_topk": WINDOW, "index_head_dim": 8}),
    "doge": ("doge", {}),
    "falcon": ("falcon", {"alibi": False}),
    "falcon, alibi": ("falcon", {"alibi": True}),
    "gemma4": (
        "gemma4_text",
        {
            "num_hidden_layers": 4,
            "layer_types": BOTH * 2,
            "num_kv_shared_layers": 2,
            "final_logit_softcapping": 5.0,
            "num_experts": None,
            "moe_intermediate_size": None,
            "per_layer_config": {"01": {"head_dim": 16}, "03": {"head_dim": 16}},
        },
    ),
    "gptj": ("gptj", {"rotary_dim": 4}),
    "gpt_oss": ("gpt_oss", {"layer_types": BOTH}),
    "granite_swa": ("granite_swa", {"logits_scaling": 2.0}),
    "granitemoehybrid, attention": (
        "granitemoehybrid",
        {
            **{"layer_types": FULL, "num_local_experts": 0, "shared_intermediate_size": 48},
            **{"mamba_n_heads": 4, "mamba_d_head": 16, "position_embedding_type": "rope"},
        },
    ),
    "granitemoehybrid, mamba": (
        "granitemoehybrid",
        {
            **{"layer_types": ["mamba", "attention"], "shared_intermediate_size": 48},
            **{"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8},
        },
    ),
    "jetmoe": ("jetmoe", {}),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "llama4": (
        "llama4_text",
        {
            "attention_chunk_size": WINDOW,
            "intermediate_size_mlp": 48,
            "no_rope_layers": [1, 0],
            "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    "mamba": ("mamba", {}),
    "mimo_v2_flash": ("mimo_v2_flash", {}),
    "minicpm3": ("minicpm3", MLA),
    "mpt": ("mpt", {"max_seq_len": POSITIONS}),
    "nemotron": ("nemotron", {"num_key_value_heads": 2}),
    "nemotron_h": (
        "nemotron_h",
        {
            **{"layers_block_type": ["mamba", "attention", "mlp", "moe"], "num_hidden_layers": 4},
            **{"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1},
        },
    ),
    "olmo3": ("olmo3", {}),
    "opt": ("opt", {}),
    "phimoe": ("phimoe", {"sliding_window": WINDOW}),
    "qwen2_moe": ("qwen2_moe", {"use_sliding_window": True, "layer_types": BOTH}),
    "qwen3_5": ("qwen3_5_text", LINEAR),
    "qwen3_5_moe": ("qwen3_5_moe_text", LINEAR),
    "qwen3_next": ("qwen3_next", LINEAR),
    "rembert": (
        "rembert",
        {"is_decoder": True, "input_embedding_size": 16, "output_embedding_size": 24},
    ),
    "roberta": ("roberta", {"is_decoder": True}),
    "smollm3": ("smollm3", {}),
    "stablelm": ("stablelm", {}),
    "xglm": ("xglm", {}),
}


def config_of(kind: str, own: Mapping[str, Any]) -> Any:
    """The configuration of a model type with tiny sizes, and what it has of its own."""
    made = CONFIG_MAPPING[kind]
    known = made().to_dict()
    sizes = {name: size for name, size in SIZES.items() if known.get(name) is not None}
    return made(**{**sizes, **copy.deepcopy(dict(own))})


@functools.cache
def model_of(family: str) -> PreTrainedModel:
    """A model in eval mode, in which what one token does to another shows. Do not change it."""
    return random_model(config_of(*FAMILIES[family]))


def random_model(config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        # Larger than at initialisation; vectors keep what they mean, such as a decay.
        noise = torch.randn_like(parameter)
        parameter.data = noise * 0.15 if parameter.ndim > 1 else parameter.data + noise * 0.2
    return model.eval()


def rows() -> list[list[TokenSequence]]:
    """Groups of rows, shorter and longer than any window: with one prompt, and with several."""
    rng = np.random.default_rng(0)
    lengths = [(5, (1, 9, 30)), (21, (4, 14)), (40, (20, 2)), (1, (3,)), (1, (13,))]
    groups = []
    for prompt, answers in lengths:
        ids = rng.integers(3, VOCABULARY, prompt)
        groups.append(
            [TokenSequence(ids, rng.integers(3, VOCABULARY, answer)) for answer in answers]
        )
    return groups


def plain(model: nn.Module, sequence: TokenSequence) -> Tensor:
    """The definition: a fresh copy reads the row alone, all logits, the answer's picked."""
    ids = torch.from_numpy(np.concatenate([sequence.prompt, sequence.answer]))[None]
    logps = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    answer = torch.from_numpy(sequence.answer)[:, None]
    return logps[len(sequence.prompt) - 1 : -1].gather(1, answer)[:, 0]
