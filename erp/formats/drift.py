"""``drift.json``: what was measured of a router that is asked with another encoder's vectors."""

from __future__ import annotations

from erp.formats.form import Form, as_it_was

DRIFT = Form(as_it_was)
