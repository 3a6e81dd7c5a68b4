"""What users bring: latents, annotations, pictures, and which of them belong together. Imports
`pipeline.labelling` and the rooms below.
"""
