"""Bridges to other packages, each imported only by those who ask for it."""
