"""What a collection would take, before it is begun."""
def plan(store, config, prompts): return ""
