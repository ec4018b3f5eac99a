"""The reward table: one row per (prompt, pool member, sample), the only interface between collecting and learning."""
