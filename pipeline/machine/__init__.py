"""What the machine offers: devices, threads, memory, progress, random streams and provenance. Imports only
`pipeline.settings` and `pipeline.errors`.
"""
