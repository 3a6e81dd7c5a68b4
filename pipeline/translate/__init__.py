"""`dgan translate`: networks that carry images from one domain to another, and datasets of translated images.

Imports the rooms below `pipeline.segment`.
"""
