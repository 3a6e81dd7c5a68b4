"""`dgan report`: one HTML page of a dataset, a feature store or an interpreter. Imports
`pipeline.interpreter` and the rooms below.
"""
