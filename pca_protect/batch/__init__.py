"""Protects many pictures on one machine, with a journal of finished outputs."""
