"""Edits of nested plain values, as `results.json` holds them."""

import copy


def places(node, prefix=()):
    """Every key of a nested value, and the first element of every list."""
    items = node.items() if isinstance(node, dict) else list(enumerate(node))[:1] if isinstance(node, list) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


def edited(content, place, *value):
    """Without that key, or with another value there."""
    changed = copy.deepcopy(content)
    node = changed
    for key in place[:-1]:
        node = node[key]
    if value:
        node[place[-1]] = value[0]
    else:
        del node[place[-1]]
    return changed
