"""The commands of ``dgan``: their options, their help, and how they end. May import every room but
`pipeline.cli`, and imports heavy ones inside functions only.
"""
