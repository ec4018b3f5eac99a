"""Reward models, each called the way its authors call it: one file per family."""
