"""From scores on held-out prompts to results: a section of ``results.json`` a module, pure functions."""
