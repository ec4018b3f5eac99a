"""Prompts in, vectors out, cached on disk."""
