"""Embedded editors: complete diffusers pipelines that work offline. Data only; see MODEL_CARD.md."""
