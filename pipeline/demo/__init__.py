"""``dgan demo``, and the training of its generator. Imports `pipeline.stages` and the rooms below."""
