"""A trained router as a run folder holds it: a plain module, saved, opened, asked, and given one member more."""
