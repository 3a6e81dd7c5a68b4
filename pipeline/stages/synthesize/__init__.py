"""``dgan synthesize``: from an interpreter to a dataset of labelled images."""
