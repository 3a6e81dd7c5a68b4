"""The commands as functions of Python, and what functions and commands share: how each is run, the words for
an error. Imports heavy rooms inside functions only, because ``--help`` loads it.
"""
