"""`dgan segment`: a segmentation network that learns from a dataset, is tested on annotated photographs, and
labels photographs. Imports `pipeline.evaluation` and the rooms below.
"""
