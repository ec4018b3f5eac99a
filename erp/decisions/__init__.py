"""Scores and costs in, decisions out: the rule, the exact reward-cost curve, and the reference rows. Pure numpy."""
