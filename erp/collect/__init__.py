"""COLLECT: prompts x pool x reward models -> a reward table."""
