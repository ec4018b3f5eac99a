"""How good predictions and decisions are, and how sure one can be of it."""
