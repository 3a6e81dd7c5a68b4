"""`dgan translate train`."""
