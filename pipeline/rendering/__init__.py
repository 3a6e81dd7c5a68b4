"""From latents to pictures and feature maps: latents, noise, layer selection and the renderer. Imports
`pipeline.checkpoints` and the rooms below.
"""
