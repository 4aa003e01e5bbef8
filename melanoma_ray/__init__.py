"""melanoma_ray: from a folder of dermoscopic images to a melanoma triage service, on Ray.

A research and triage tool, not a medical device.
"""

__version__ = "0.1.0"
