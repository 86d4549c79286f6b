"""The gradient step of sign-preserving square-root normalisation, the same bits everywhere."""

from rootstep._rootstep import __version__

__all__ = ["__version__"]
