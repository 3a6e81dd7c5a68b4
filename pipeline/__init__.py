"""The stages of DatasetGAN and the command line. Each folder is a room; a room imports only rooms that stand
below it in the table of tests/project/test_layering.py.
"""
