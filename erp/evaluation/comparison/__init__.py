"""Many runs side by side: who can be compared with whom, and the differences between them; without torch."""
