"""A causal language model to call: in process, or behind an address."""
