"""Features in, one score per pool member out; one file each."""
