"""Casparian Flow: drop evidence, get typed tables you can trust, and prove how you got them."""

__version__ = "0.2.0"
