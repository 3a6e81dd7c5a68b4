"""Reads a generator's checkpoint: `containers` opens the file, `loaders` finds the network in it. Imports
`pipeline.models` and the rooms below.
"""
