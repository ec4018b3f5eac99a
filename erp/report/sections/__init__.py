"""The sections of ``results.json``, one module each: pure functions of what was held out."""
