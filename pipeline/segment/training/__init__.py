"""`dgan segment train`."""
