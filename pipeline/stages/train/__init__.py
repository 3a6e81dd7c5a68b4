"""``dgan train``: from a feature store to an interpreter."""
