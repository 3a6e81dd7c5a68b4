"""`dgan evaluate`: an interpreter's labels against true ones. Imports `pipeline.interpreter`,
`pipeline.inputs` and the rooms below.
"""
