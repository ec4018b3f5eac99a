"""Many runs side by side: who can be compared with whom, the differences between them, and the tables and figures."""
