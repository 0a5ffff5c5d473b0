"""Whether the parts of a checkpoint fit each other, and what we compute: ModelError where not."""

from __future__ import annotations

from typing import Any

from repick.errors import ModelError


def refuse_sliding_windows(text: Any) -> None:
    """Our attention sees a whole prompt."""
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise ModelError(f"the model uses {', '.join(sorted(kinds))}, which is not supported")


def refuse_rotation_by_length(text: Any) -> None:
    """With these the longest prompt of a batch would turn the positions of all others too."""
    kind = (getattr(text, "rope_parameters", None) or {}).get("rope_type")
    if kind in ("dynamic", "longrope"):
        raise ModelError(f"the model's rope_type {kind} is not supported: use default or yarn")


def refuse_other_processor(processor: Any, vision: Any) -> None:
    """Its patches would not fit the tower, or fit it and be in another order."""
    for ours, theirs in (
        ("patch_size", "patch_size"),
        ("merge_size", "spatial_merge_size"),
        ("temporal_patch_size", "temporal_patch_size"),
    ):
        made, wanted = getattr(processor, ours), getattr(vision, theirs)
        if made != wanted:
            raise ModelError(
                f"the image processor has {ours} {made}, the model {wanted}: take "
                "preprocessor_config.json from the model that this one was made from"
            )


def refuse_other_tokenizer(tokenizer: Any, model: Any) -> None:
    """Text would need embeddings that are not there, and images stand between other tokens."""
    config, embedded = model.config, model.get_input_embeddings().num_embeddings
    known = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    if known > embedded:
        raise ModelError(
            f"the tokenizer knows {known} tokens, the model {embedded}: they are of two checkpoints"
        )
    for name in ("image_token_id", "vision_start_token_id", "vision_end_token_id"):
        if getattr(config, name) not in tokenizer.added_tokens_decoder:
            raise ModelError(
                f"{name} {getattr(config, name)} is no control token of the tokenizer: config.json "
                "and tokenizer are of two checkpoints"
            )
