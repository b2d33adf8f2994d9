"""Training: losses, discriminators, data, the step and the loop. Used only from the command line.

Reading order: ``config`` -> ``sources`` -> ``clips`` -> ``crops`` (data) -> ``discriminators``, ``losses`` -> ``step``
-> ``loop``.
"""
