"""The gateway: a trained router in front of real models. `decide.py` is the decision, a pure function."""
