"""How well a codec does: metrics and pictures."""
