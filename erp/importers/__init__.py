"""Other people's evaluation logs and tables -> a reward table; a module for each kind of source."""
