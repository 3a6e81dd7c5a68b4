"""`dgan calibrate`: what uncertainty says of error, by training on parts of the annotated images. Imports
`pipeline.stages` and the rooms below.
"""
