"""``dgan sample``: from a generator to a folder of images to annotate."""
