"""How work is cut for an engine: long signals into chunks, many signals into batches."""
