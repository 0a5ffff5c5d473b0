"""The fine stage: a multimodal language model judges one pair a forward pass (METHOD §2, §3)."""
