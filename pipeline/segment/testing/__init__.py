"""`dgan segment test`."""
