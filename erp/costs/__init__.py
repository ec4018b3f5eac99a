"""What one answer costs, by prompt and member: what is said of members, ways to count, and what train tells."""
