"""``dgan extract-features``: from annotated latents to a feature store."""
