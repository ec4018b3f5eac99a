"""Formats of files that rows come from, a module each; `known` names them all."""
