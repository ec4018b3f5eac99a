"""Decisions that look at rewards: whom to ask next, when to stop, which answer to return. Pure numpy."""
