"""What can be set: the settings and their rules, TOML files, lists of classes, and released experiments.
Imports of this package only `pipeline.errors`; it loads nothing heavy.
"""
