"""Forms of the files that outlive a version: each says its number, and older ones become today's on being read."""
