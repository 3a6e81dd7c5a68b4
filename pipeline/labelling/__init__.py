"""The numerical core: labels, heat maps, divergence and scores of images from feature maps. Imports
`pipeline.rendering` and the rooms below.
"""
