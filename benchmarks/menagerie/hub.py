"""Backbones of `keras_hub`, tiny, from arguments: its presets' own are fetched from elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

# By the name of an argument, where an architecture takes one of that name.
_SMALL: dict[str, Any] = {
    "vocabulary_size": 500, "vocab_size": 500, "num_layers": 2, "num_heads": 4, "head_dim": 16,
    "num_attention_heads": 4, "num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 64,
    "hidden_size": 64, "intermediate_dim": 128, "mlp_dim": 128, "embedding_dim": 64,
    "max_sequence_length": 32, "patch_size": 8, "image_shape": (32, 32, 3), "num_experts": 4,
    "top_k": 2, "head_size": 16, "moe_intermediate_dim": 64, "shared_expert_intermediate_dim": 64,
    "shared_expert_intermediate_size": 64, "image_size": 32, "projection_dim": 64,
}  # fmt: skip
# The first of several for one class is the one that keras_hub names first.
_WORDS = (
    "Albert", "Bart", "Bert", "Bloom", "DebertaV3", "DistilBert", "Electra", "ESM", "FNet",
    "Falcon", "GPT2", "GPTNeoX", "Gemma", "GptOss", "Llama", "Llama3", "Mistral", "Mixtral",
    "OPT", "Phi3", "Qwen", "Qwen3", "Qwen3Moe", "QwenMoe", "Roberta", "RoformerV2", "T5",
    "Whisper", "XLMRoberta", "XLNet",
)  # fmt: skip
_RESNET: dict[str, Any] = {
    "input_conv_filters": [32], "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 64, 64], "stackwise_num_blocks": [2, 2, 2],
    "stackwise_num_strides": [1, 2, 2], "block_type": "bottleneck_block",
}  # fmt: skip
_DEEP_STEM = {"input_conv_filters": [16, 16, 32], "input_conv_kernel_sizes": [3, 3, 3]}
_CSPNET: dict[str, Any] = {
    "stem_filters": 32, "stem_kernel_size": 3, "stem_strides": 1, "stackwise_depth": [1, 2, 2],
    "stackwise_strides": [1, 2, 2], "stackwise_num_filters": [32, 64, 128],
    "block_type": "dark_block", "bottle_ratio": [0.5] * 3, "block_ratio": [0.5] * 3,
    "expand_ratio": [1.0] * 3,
}  # fmt: skip
_EFFICIENT: dict[str, Any] = {
    "stackwise_kernel_sizes": [3, 5, 3], "stackwise_num_repeats": [1, 2, 2],
    "stackwise_input_filters": [32, 16, 24], "stackwise_output_filters": [16, 24, 40],
    "stackwise_expansion_ratios": [1, 6, 6], "stackwise_strides": [1, 2, 2],
    "stackwise_squeeze_and_excite_ratios": [0.25, 0.25, 0.25], "stackwise_block_types": ["v1"] * 3,
    "stackwise_force_input_filters": [0] * 3, "stackwise_nores_option": [False] * 3,
    "width_coefficient": 1.0, "depth_coefficient": 1.0, "input_shape": (32, 32, 3),
}  # fmt: skip
_MIT: dict[str, Any] = {
    "layerwise_depths": [1, 1], "num_layers": 2, "layerwise_num_heads": [1, 2],
    "layerwise_sr_ratios": [2, 1], "max_drop_path_rate": 0.1, "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2], "hidden_dims": [32, 64],
}  # fmt: skip
_MOBILE: dict[str, Any] = {
    "stackwise_expansion": [[40, 56], [64, 144, 144]], "stackwise_num_blocks": [2, 3],
    "stackwise_num_filters": [[16, 16], [24, 24, 24]],
    "stackwise_kernel_size": [[3, 3], [5, 5, 5]],
    "stackwise_num_strides": [[2, 1], [1, 1, 1]],
    "stackwise_se_ratio": [[None, None], [0.25, 0.25, 0.25]],
    "stackwise_activation": [["relu", "relu"], ["hard_swish"] * 3],
    "stackwise_padding": [[1, 1], [2, 2, 2]], "output_num_filters": 128,
    "input_activation": "hard_swish", "output_activation": "hard_swish", "input_num_filters": 16,
    "depthwise_filters": 8, "depthwise_stride": 2, "depthwise_residual": False,
    "last_layer_filter": 64, "squeeze_and_excite": 0.5,
}  # fmt: skip
_HGNET: dict[str, Any] = {
    "depths": [1, 2], "embedding_size": 32, "hidden_sizes": [64, 128], "stem_channels": [3, 16, 32],
    "hidden_act": "relu", "use_learnable_affine_block": False,
    "stackwise_stage_filters": [(32, 16, 64, 1, 1, 3), (64, 32, 128, 2, 1, 3)],
    "apply_downsample": [False, True], "use_lightweight_conv_block": [False, False],
}  # fmt: skip
_SMOL: dict[str, Any] = {
    "attention_bias": False, "attention_dropout": 0.0, "rope_layer_enabled_list": [True, False],
    "layer_types": ["full_attention"] * 2, "mlp_bias": False, "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 32, "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
}  # fmt: skip
_T5GEMMA: dict[str, Any] = {
    f"{part}_{name}": value
    for part in ("encoder", "decoder")
    for name, value in {
        "hidden_dim": 64, "intermediate_dim": 128, "num_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16,
        "layer_types": ["full_attention", "sliding_attention"],
    }.items()
} | {"sliding_window": 16}  # fmt: skip
_GEMMA2 = {
    "use_post_ffw_norm": True, "use_post_attention_norm": True, "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0, "use_sliding_window_attention": True, "sliding_window_size": 16,
}  # fmt: skip
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"], "partial_rotary_factor": 0.5,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}  # fmt: skip
_MOONSHINE = {
    "filter_dim": 64, "encoder_num_layers": 2, "decoder_num_layers": 2, "encoder_num_heads": 4,
    "decoder_num_heads": 4,
}  # fmt: skip
_VIDEO = {
    "num_frames": 4, "num_spatial_layers": 1, "num_temporal_layers": 1, "num_auxiliary_layers": 1
}  # fmt: skip
_FLUX = {
    "input_channels": 16, "mlp_ratio": 2.0, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [4, 6, 6], "theta": 10_000, "use_bias": True, "image_shape": (16, 16),
    "text_shape": (8, 64), "image_ids_shape": (16, 3), "text_ids_shape": (8, 3), "y_shape": (64,),
}  # fmt: skip
_PALI = {
    "vit_patch_size": 8, "vit_num_heads": 4, "vit_hidden_dim": 32, "vit_num_layers": 2,
}  # fmt: skip
_GEMMA3N = {
    "text_vocab_size": 500, "text_hidden_size": 64, "num_hidden_layers": 2, "pad_token_id": 0,
    "intermediate_size": [128, 128], "hidden_activation": "gelu_approximate", "sliding_window": 16,
    "layer_types": ["full_attention", "sliding_attention"], "rope_theta": 10_000.0,
    "max_position_embeddings": 32, "vocab_size_per_layer_input": 500,
    "hidden_size_per_layer_input": 8, "altup_num_inputs": 2, "laurel_rank": 4,
}  # fmt: skip


def _backbone(kind: str, **chosen: Any) -> Any:
    """One of keras_hub's, small where nothing else is chosen."""
    from keras_hub import models

    make = getattr(models, kind, None) or getattr(models, f"{kind}Backbone")
    known = inspect.signature(make.__init__).parameters
    return make(**{name: size for name, size in _SMALL.items() if name in known} | chosen)


def _towers(kind: str) -> Any:
    """CLIP and its kin: one tower for images, one for texts."""
    towers = {
        "vision_encoder": _backbone(f"{kind}VisionEncoder"),
        "text_encoder": _backbone(f"{kind}TextEncoder", max_sequence_length=16),
    }
    return _backbone(kind, **towers)


def _on(kind: str, image_encoder: Callable[[], Any], **chosen: Any) -> Any:
    return _backbone(kind, image_encoder=image_encoder(), **chosen)


_resnet = partial(_backbone, "ResNet", **_RESNET)
_vit = partial(_backbone, "ViT")
_dino = partial(_backbone, "DINOV2", position_embedding_shape=(32, 32, 3))


def architectures() -> Mapping[str, tuple[str, Callable[[], Any]]]:
    """Family and maker by name."""
    made: dict[str, tuple[str, Callable[[], Any]]] = {
        name: ("words", partial(_backbone, name)) for name in _WORDS
    }
    families: dict[str, dict[str, Callable[[], Any]]] = {
        "words": {
            "T5 (1.0)": partial(_backbone, "T5", use_gated_activation=False),
            "Gemma 2": partial(_backbone, "Gemma", **_GEMMA2),
            "Gemma 3": partial(_backbone, "Gemma3", use_sliding_window_attention=True,
                               sliding_window_size=16, use_post_ffw_norm=True,
                               use_post_attention_norm=True),
            "Gemma 3n": partial(_backbone, "Gemma3n", **_GEMMA3N),
            "Gemma 4": partial(_backbone, "Gemma4", sliding_window_size=16),
            "Gemma 4, experts": partial(_backbone, "Gemma4", sliding_window_size=16,
                                        enable_moe_block=True, expert_intermediate_dim=64,
                                        num_experts_per_token=2),
            "Qwen3.5": partial(_backbone, "Qwen3_5", **_LINEAR),
            "Qwen3.5, experts": partial(_backbone, "Qwen3_5Moe", **_LINEAR),
            "SmolLM3": partial(_backbone, "SmolLM3", **_SMOL),
            "T5Gemma": partial(_backbone, "T5Gemma", **_T5GEMMA),
            "T5Gemma 2": partial(_backbone, "T5Gemma2", **_T5GEMMA),
            "RWKV-7": partial(_backbone, "RWKV7", head_size=16, gate_lora=16, mv_lora=8,
                              aaa_lora=8, decay_lora=8),
            "EdRec": partial(_backbone, "EdRec", num_layers_enc=2, num_layers_dec=2),
            "Moonshine": partial(_backbone, "Moonshine", **_MOONSHINE),
        },
        "images": {
            "ViT": _vit,
            "DeiT": partial(_backbone, "DeiT"),
            "DINOv2": _dino,
            "DINOv2, gated": partial(_dino, use_swiglu_ffn=True, num_register_tokens=4),
            "DINOv3": partial(_backbone, "DINOV3"),
            "Swin": partial(_backbone, "SwinTransformer", embed_dim=32, depths=[2, 2],
                            num_heads=[2, 4], window_size=4, patch_size=4),
            "MiT": partial(_backbone, "MiT", **_MIT),
            "ViTDet": partial(_backbone, "ViTDet", global_attention_layer_indices=[1],
                              num_output_channels=16, window_size=2),
            "ResNet, basic": partial(_resnet, block_type="basic_block", input_conv_filters=[64]),
            "ResNet, bottleneck": _resnet,
            "ResNet V2": partial(_resnet, use_pre_activation=True),
            "ResNet-vd": partial(_resnet, block_type="bottleneck_block_vd", **_DEEP_STEM),
            "ResNet-vd, basic": partial(_resnet, block_type="basic_block_vd", **_DEEP_STEM),
            "CSPDarknet": partial(_backbone, "CSPNet", **_CSPNET, stage_type="csp"),
            "CSPResNet": partial(_backbone, "CSPNet", **_CSPNET
                                 | {"block_type": "bottleneck_block", "stage_type": "csp"}),
            "CSPEdgeNet": partial(_backbone, "CSPNet", **_CSPNET
                                  | {"block_type": "edge_block", "stage_type": "csp"}),
            "Darknet": partial(_backbone, "CSPNet", **_CSPNET
                               | {"stage_type": "dark", "bottle_ratio": [1.0] * 3,
                                  "block_ratio": [1.0] * 3}),
            "VGG": partial(_backbone, "VGG", stackwise_num_repeats=[2, 3, 3],
                           stackwise_num_filters=[16, 32, 32]),
            "DenseNet": partial(_backbone, "DenseNet", stackwise_num_repeats=[2, 3, 2],
                                growth_rate=8),
            "EfficientNet": partial(_backbone, "EfficientNet", **_EFFICIENT),
            "EfficientNet V2": partial(_backbone, "EfficientNet", **_EFFICIENT
                                       | {"stackwise_block_types": ["cba", "fused", "unfused"]}),
            "MobileNet": partial(_backbone, "MobileNet", **_MOBILE),
            "Xception": partial(_backbone, "Xception", stackwise_pooling=[True, False],
                                stackwise_conv_filters=[[16, 16], [32, 32, 32]]),
            "HGNetV2": partial(_backbone, "HGNetV2", **_HGNET),
            "HGNetV2, light": partial(_backbone, "HGNetV2", **_HGNET
                                      | {"use_lightweight_conv_block": [False, True],
                                         "use_learnable_affine_block": True}),
            "VideoPrism": partial(_backbone, "VideoPrism", **_VIDEO),
            "RetinaNet": partial(_on, "RetinaNet", _resnet,
                                 min_level=3, max_level=4, use_p5=False),
            "DeepLabV3+": partial(_on, "DeepLabV3", _resnet, low_level_feature_key="P2",
                                  spatial_pyramid_pooling_key="P4", upsampling_size=4,
                                  dilation_rates=[2, 4]),
            "SegFormer": partial(_on, "SegFormer", partial(_backbone, "MiT", **_MIT),
                                 projection_filters=16),
            "DepthAnything": partial(_on, "DepthAnything", _dino, feature_keys=["stage1", "stage2"],
                                     reassemble_factors=[2, 1], neck_hidden_dims=[16, 32],
                                     fusion_hidden_dim=16, head_hidden_dim=8, head_in_index=-1),
            "BASNet": partial(_on, "BASNet", partial(
                _resnet, block_type="basic_block", image_shape=(None, None, 3),
                input_conv_filters=[64],
                stackwise_num_filters=[64, 64, 64, 64], stackwise_num_blocks=[1, 1, 1, 1],
                stackwise_num_strides=[1, 2, 2, 2]), num_classes=1, image_shape=(64, 64, 3),
                projection_filters=64),
        },
        "several kinds": {
            "CLIP": partial(_towers, "CLIP"),
            "SigLIP": partial(_towers, "SigLIP"),
            "MetaCLIP 2": partial(_towers, "MetaCLIP2"),
            "PaliGemma": partial(_backbone, "PaliGemma", **_PALI),
            "PARSeq": partial(_on, "PARSeq", _vit, max_label_length=16, decoder_hidden_dim=64,
                              num_decoder_layers=1, num_decoder_heads=4, decoder_mlp_dim=128),
            "Flux": partial(_backbone, "Flux", **_FLUX),
        },
    }  # fmt: skip
    for family, members in families.items():
        made |= {name: (family, build) for name, build in members.items()}
    return made
