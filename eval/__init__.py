"""Measuring what protection does and what it costs."""
