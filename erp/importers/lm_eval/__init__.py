"""The logs of lm-evaluation-harness."""
