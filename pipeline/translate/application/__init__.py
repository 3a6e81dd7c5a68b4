"""``dgan translate apply``: a dataset with translated images and the same labels."""
