"""How the demo's own models are trained and measured; README.md says why in this way."""
