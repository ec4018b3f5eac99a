"""The lines of a gateway's decision log, ``*.ndjson``."""

from __future__ import annotations

from erp.formats.form import Form, as_it_was

DECISION_LOG = Form(as_it_was)
