"""A trained interpreter on disk: its files, its description, released members, and its generator. Imports
`pipeline.inputs` and the rooms below.
"""
