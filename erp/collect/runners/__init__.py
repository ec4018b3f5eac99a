"""How units of work are carried out: here, or on a cluster."""
