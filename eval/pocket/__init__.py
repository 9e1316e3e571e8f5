"""The embedded editors: whole diffusers pipelines that work offline. Data only; MODEL_CARD.md says what they are."""
