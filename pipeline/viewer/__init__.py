"""`dgan view`: the page of a report over all images of a store, served on this machine. Imports
`pipeline.reports` and the rooms below.
"""
