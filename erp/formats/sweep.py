"""The record of a sweep, ``sweeps/<sweep>.json``."""

from __future__ import annotations

from erp.formats.form import Form, as_it_was

SWEEP = Form(as_it_was)
