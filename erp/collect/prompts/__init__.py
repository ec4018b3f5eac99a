"""Where prompts come from: one file per kind of source."""
