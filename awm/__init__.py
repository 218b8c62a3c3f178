"""Attentive World Models: V, M and C on CarRacing-v3, with and without attention."""

from awm.sim import register_environments

__version__ = "0.1.0"

register_environments()
