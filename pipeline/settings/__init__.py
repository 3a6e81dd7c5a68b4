"""What can be set: the settings and their rules, TOML files, lists of classes, and released experiments.

Imports only `pipeline.errors` and the light modules of the store's format, because ``--help`` loads it.
"""
