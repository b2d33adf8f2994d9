"""Training: losses, discriminators, data, the step and the loop. Reached from the command line alone.

The way through: ``config`` -> ``sources`` -> ``clips`` -> ``crops`` (data) -> ``discriminators``, ``losses`` -> ``step``
-> ``loop``.
"""
