"""Blind judges of edits: a vision-language model, and people with a printed sheet."""
