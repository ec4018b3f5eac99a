"""``results.json`` as one tree: a module a section, and with every field what it is, its unit, and when it is null."""

from erp.results.base import MOST, Interval, number, numbers
from erp.results.reading import Content, costs_differ, look_up, require_sound, value_of, whole
from erp.results.tree import Results

__all__ = [
    "MOST",
    "Content",
    "Interval",
    "Results",
    "costs_differ",
    "look_up",
    "number",
    "numbers",
    "require_sound",
    "value_of",
    "whole",
]
