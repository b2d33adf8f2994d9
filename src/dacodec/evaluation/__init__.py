"""Evaluation of a codec: metrics, pictures and reports."""
